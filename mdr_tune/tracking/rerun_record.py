"""Read the record of a trial from MLflow, and record a rerun of the trial as a run of its own."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.metrics import find, is_compared
from mdr_tune.tracking.experiment import check_active, find_run
from mdr_tune.tracking.reader import read_history
from mdr_tune.tracking.run_files import read_text
from mdr_tune.tracking.tags import DEVICE_TAG, EXPLOITED_TAG, run_tags
from mdr_tune.tracking.trial_runs import log_params
from mdr_tune.util.errors import UserError

REPEAT_FILE = "repeat.json"
"""Artifact of a trial's run with all that is needed to repeat the trial, from `records.provenance.repeat_info`."""
RERUN_TAG = "rerun_of"
"""Tag on the run of a rerun: id of the run that was repeated."""
EQUAL_TAG = "rerun_equal"


@dataclass(frozen=True)
class Original:
    """A recorded trial that is to be run again.

    Attributes:
        run_id: Id of the trial's run.
        name: Name of the trial, such as `mdr-007`.
        repeat: Content of the trial's REPEAT_FILE.
        history: For each epoch, its number as `epoch` and the metrics that are compared with those of the rerun.
        device: Device that the trial ran on; None if it was not recorded.
        image_content: Hash of the trial's images; None if it is not known.
    """

    run_id: str
    experiment_id: str
    name: str
    repeat: dict[str, Any]
    history: list[dict[str, float]]
    device: str | None
    image_content: str | None

    @property
    def epochs(self) -> int:
        """Number of epochs for which the trial was trained."""
        return int(self.history[-1]["epoch"]) if self.history else 0


def read_original(client: MlflowClient, run_id: str, store: str) -> Original:
    """Return the record of the trial whose run is `run_id`, for a rerun. `store` is the store's address, for messages.

    Raises:
        UserError: There is no such run, the run does not belong to a trial, or the trial cannot be repeated. The
            error's text says what to do.
    """
    run = find_run(client, run_id, store)
    check_active(client, client.get_experiment(run.info.experiment_id))  # the rerun becomes a run in it too
    _check_repeatable(client, run)
    tags = run.data.tags
    measured = [key for key in run.data.metrics if find(key) is not None and is_compared(key)]
    history = read_history(client, run_id, measured)
    if not history:
        raise UserError(f"{run_id}: {tags[MLFLOW_RUN_NAME]} recorded no epoch: there is nothing to compare with")
    return Original(
        run_id,
        run.info.experiment_id,
        tags[MLFLOW_RUN_NAME],
        _repeat(client, run),
        history,
        tags.get(DEVICE_TAG),
        _image_content(client, tags[MLFLOW_PARENT_RUN_ID]),
    )


def _check_repeatable(client: MlflowClient, run: Run) -> None:
    """Check that `run` belongs to a trial, and that the trial's results depend on its configuration alone.

    Raises:
        UserError: The run is itself a rerun, it does not belong to a trial, or population based training changed the
            trial.
    """
    run_id, tags = run.info.run_id, run.data.tags
    if RERUN_TAG in tags:
        raise UserError(f"{run_id}: is a rerun itself, of {tags[RERUN_TAG]}: give that run's id")
    if MLFLOW_PARENT_RUN_ID not in tags:
        query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'"
        trials = client.search_runs([run.info.experiment_id], query, max_results=3)
        known = ", ".join(f"{trial.data.tags[MLFLOW_RUN_NAME]} {trial.info.run_id}" for trial in reversed(trials))
        raise UserError(f"{run_id}: is not the run of a trial{f'. Give one of its trials: {known}' if known else ''}")
    if EXPLOITED_TAG in tags:
        raise UserError(
            f"{run_id}: population based training changed {tags[MLFLOW_RUN_NAME]} on its way ({tags[EXPLOITED_TAG]}): "
            "its numbers follow from other trials' weights too, so that it cannot be run again alone. Repeat the sweep"
        )


def _repeat(client: MlflowClient, run: Run) -> dict[str, Any]:
    if REPEAT_FILE not in [entry.path for entry in client.list_artifacts(run.info.run_id)]:
        raise UserError(
            f"{run.info.run_id}: has no artifact {REPEAT_FILE}, because an older version of this program recorded it, "
            "or because the store did not take it: what it ran with is not known exactly. Its parameters are in MLflow"
        )
    found: dict[str, Any] = json.loads(read_text(client, run.info.run_id, REPEAT_FILE))
    return found


def _image_content(client: MlflowClient, parent_run_id: str) -> str | None:
    """Return the hash of the sweep's images from the launch's run, `parent_run_id`; None if not recorded.

    The result is also None if `mlflow gc` has removed the run, or if the sweep's space varies the data set or its keys,
    or the sweep has folds, because the trials may then have read different images.
    """
    try:
        params = client.get_run(parent_run_id).data.params
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    several = any(key.startswith("space.data") for key in params) or "search.folds" in params
    return None if several else params.get("images.content")


class RerunRun:
    """The MLflow run of a rerun of the trial `original`, whose configuration is `trial`.

    The run is in the trial's experiment. It has no parent run, so that leaderboards leave it out. Leaving the context
    closes the run. Its status is FINISHED if `log_comparison` was called, KILLED after Ctrl-C, and FAILED otherwise.
    `repeat` is the content of the rerun's own REPEAT_FILE, from `repeat_info`.
    """

    def __init__(self, client: MlflowClient, original: Original, trial: TrialConfig, repeat: dict[str, Any]) -> None:
        self._client = client
        tags = {
            **run_tags(f"rerun of {original.name}"),
            RERUN_TAG: original.run_id,
            **({DEVICE_TAG: repeat["device"]} if "device" in repeat else {}),
        }
        self.run_id: str = client.create_run(original.experiment_id, tags=tags).info.run_id
        self._status: Literal["FINISHED", "FAILED"] = "FAILED"
        log_params(client, self.run_id, trial.flat())
        client.log_text(self.run_id, json.dumps(repeat, indent=2), REPEAT_FILE)

    def __enter__(self) -> "RerunRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        killed = kind is not None and issubclass(kind, KeyboardInterrupt)
        self._client.set_terminated(self.run_id, "KILLED" if killed else self._status)

    def log_epoch(self, metrics: Mapping[str, float]) -> None:
        """Write the finite `metrics` of an epoch. The value under the key `epoch` is the epoch's number."""
        step, when_ms = int(metrics["epoch"]), int(time.time() * 1000)
        values = [
            Metric(key, value, when_ms, step)
            for key, value in metrics.items()
            if key != "epoch" and math.isfinite(value)
        ]
        self._client.log_batch(self.run_id, metrics=values)

    def log_comparison(self, equal: bool, text: str) -> None:
        """Write the result of the comparison: whether all numbers are `equal`, and `text` as the run's description."""
        self._client.set_tag(self.run_id, EQUAL_TAG, str(equal).lower())
        self._client.set_tag(self.run_id, MLFLOW_RUN_NOTE, text)
        self._status = "FINISHED"
