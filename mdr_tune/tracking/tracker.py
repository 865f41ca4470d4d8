"""The MLflow side of a sweep: one parent run, a child run a trial, metrics an epoch, checkpoints as artifacts."""

import datetime
import getpass
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import (
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_USER,
)

from mdr_tune.config.arms import Arm
from mdr_tune.config.base import flatten
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records import TrialRecord
from mdr_tune.tracking.writer import OrderedWriter

PARAM_VALUE_LIMIT = 6000
PARAMS_A_BATCH = 100
TRIAL_ID_TAG = "mdr_tune.trial_id"
TEST_READ_TAG = "test_split_read"
"""Set on the runs whose checkpoint was evaluated on the test classes: when, and at which epoch."""
_STATUS = {"completed": "FINISHED", "stopped_early": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
CheckpointChoice = Literal["best", "last", "all"]


def best_key(metric: str) -> str:
    """Return the name under which the best value of a metric over the epochs stands: `val/best_recall_at_1`."""
    group, name = metric.rsplit("/", 1)
    return f"{group}/best_{name}"


def open_experiment(client: MlflowClient, name: str, artifact_root: Path | None) -> str:
    """Return the id of the experiment, made if need be, its artifacts below `artifact_root` if one is given.

    Raises:
        ValueError: The experiment was deleted in MLflow, which keeps its name taken.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = (artifact_root / name).as_uri() if artifact_root else None
        tags = {"mlflow.experimentKind": "custom_model_development"}  # model training, not GenAI
        return str(client.create_experiment(name, artifact_location=location, tags=tags))
    if experiment.lifecycle_stage == "deleted":
        raise ValueError(
            f"the MLflow experiment {name!r} was deleted, and its name is still taken: choose another --name, or "
            f"restore it (mlflow experiments restore --experiment-id {experiment.experiment_id})"
        )
    return str(experiment.experiment_id)


def run_tags(name: str) -> dict[str, str]:
    """Return the tags of a run that say its name, who started it, and with what."""
    return {MLFLOW_RUN_NAME: name, MLFLOW_USER: _user(), MLFLOW_SOURCE_NAME: "mdr_tune"}


class Tracker:
    """A sweep's listener that writes to MLflow. Calls return at once; the writes happen in order on a thread.

    Args:
        client: Of the tracking store.
        experiment_id: See `open_experiment`.
        run_name: Of the parent run.
        metric: The sweep's metric, whose best value so far the parent run shows.
        params: Of the parent run, flat.
        files: Texts to keep as artifacts of the parent run, by file name.
        checkpoints: Which checkpoints of a trial become artifacts.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        run_name: str,
        metric: str,
        params: Mapping[str, Any],
        files: Mapping[str, str],
        checkpoints: CheckpointChoice,
    ) -> None:
        self.client, self.experiment_id = client, experiment_id
        self._metric, self._checkpoints = metric, checkpoints
        self._writer = OrderedWriter()
        self._runs: dict[str, str] = {}
        self._best: float | None = None
        self.parent_run_id: str = client.create_run(experiment_id, tags=run_tags(run_name)).info.run_id
        self._log_params(self.parent_run_id, params)
        for file, text in files.items():
            client.log_text(self.parent_run_id, text, file)

    def run_id(self, record: TrialRecord) -> str:
        """Return the id of a trial's run, which must have been written: call `flush` before."""
        return self._runs[record.trial_id]

    def stage(self, text: str) -> None:
        """Not recorded."""

    def arm_started(self, arm: Arm) -> None:
        """Not recorded: each run has its arm as a tag."""

    def trial_started(self, record: TrialRecord) -> None:
        """Create the trial's run, with its parameters."""
        self._writer.put(f"the start of {record.name}", lambda: self._start(record))

    def _start(self, record: TrialRecord) -> None:
        run_id = self._run_of(record)
        self._log_params(run_id, TrialConfig.model_validate(record.config).flat())

    def _run_of(self, record: TrialRecord) -> str:
        """Return the trial's run, made now if it is not there: its start may be among the writes that were lost."""
        if record.trial_id in self._runs:
            return self._runs[record.trial_id]
        tags = {
            MLFLOW_PARENT_RUN_ID: self.parent_run_id,
            **run_tags(record.name),
            TRIAL_ID_TAG: record.trial_id,
            "arm": record.arm,
            "outcome": "running",
        }
        self._runs[record.trial_id] = self.client.create_run(self.experiment_id, tags=tags).info.run_id
        return self._runs[record.trial_id]

    def epoch_finished(self, record: TrialRecord) -> None:
        """Write the epoch's metrics in one batch."""
        metrics, when = dict(record.history[-1]), _now_ms()
        step = int(metrics.pop("epoch"))
        what = f"epoch {step} of {record.name}"
        self._writer.put(what, lambda: self._log_metrics(self._run_of(record), metrics, step, when))

    def trial_ended(self, record: TrialRecord) -> None:
        """Write how it ended, close the run, and give the parent run the best value so far."""
        self._writer.put(f"the end of {record.name}", lambda: self._end(record))

    def _end(self, record: TrialRecord) -> None:
        run_id = self._run_of(record)
        self.client.set_tag(run_id, "outcome", record.outcome)
        best = record.best(self._metric)
        if record.error is not None:
            self.client.log_text(run_id, record.error, "traceback.txt")
        if best is not None:
            value, epoch = best
            self._log_metrics(
                run_id, {best_key(self._metric): value, "val/best_epoch": epoch}, record.epochs, _now_ms()
            )
            for kept_epoch, name in self._wanted_checkpoints(record, epoch):
                folder = record.checkpoints.get(kept_epoch)
                if folder is not None:
                    self.client.log_artifacts(run_id, folder, f"checkpoints/{name}")
            if self._best is None or value > self._best:
                self._best = value
        if self._best is not None:
            self._log_metrics(self.parent_run_id, {best_key(self._metric): self._best}, len(self._runs), _now_ms())
        self.client.set_terminated(run_id, _STATUS[record.outcome])

    def _wanted_checkpoints(self, record: TrialRecord, best_epoch: int) -> list[tuple[int, str]]:
        """Return (epoch, artifact folder) of the checkpoints to upload."""
        if self._checkpoints == "all":
            return [(epoch, f"epoch_{epoch:04d}") for epoch in sorted(record.checkpoints)]
        if self._checkpoints == "last":
            return [(max(record.checkpoints, default=0), "last")]
        return [(best_epoch, "best")]

    def test_scored(self, record: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Write a trial's test metrics into its run, and when the test classes were read for them."""
        values, when = dict(metrics), _now_ms()
        best = record.best(self._metric)
        epoch = best[1] if best else record.epochs
        read = f"{datetime.datetime.fromtimestamp(when / 1000).isoformat(' ', 'seconds')}, after epoch {epoch}"

        def write() -> None:
            self._log_metrics(self._run_of(record), values, epoch, when)
            self.client.set_tag(self._run_of(record), TEST_READ_TAG, read)

        self._writer.put(f"the test metrics of {record.name}", write)

    def describe(self, markdown: str, metrics: Mapping[str, float]) -> None:
        """Set the parent run's description and its final metrics."""

        def write() -> None:
            self.client.set_tag(self.parent_run_id, MLFLOW_RUN_NOTE, markdown)
            self._log_metrics(self.parent_run_id, metrics, len(self._runs), _now_ms())

        self._writer.put("the description of the sweep", write)

    def flush(self) -> None:
        """Wait until all that was queued is written."""
        writer, self._writer = self._writer, OrderedWriter()
        writer.close()

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Close the parent run and wait for all writes.

        Raises:
            TrackingLost: The store did not take some of them.
        """
        self._writer.put("the end of the sweep", lambda: self.client.set_terminated(self.parent_run_id, status))
        self._writer.close()

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        entries = [Param(key, str(value)[:PARAM_VALUE_LIMIT]) for key, value in flatten(dict(params)).items()]
        for first in range(0, len(entries), PARAMS_A_BATCH):
            self.client.log_batch(run_id, params=entries[first : first + PARAMS_A_BATCH])

    def _log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int, when_ms: int) -> None:
        """Write one batch; MLflow stores NaN as 0 and infinities as 1.8e308, so they become a tag instead."""
        finite = [Metric(k, v, when_ms, step) for k, v in metrics.items() if math.isfinite(v)]
        broken = sorted(k for k, v in metrics.items() if not math.isfinite(v))
        tags = [RunTag("non_finite_metrics", ", ".join(broken))] if broken else []
        self.client.log_batch(run_id, metrics=finite, tags=tags)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    """Return who runs this; in a container the user id may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
