"""Find, create, reopen and close the MLflow runs of a launch's trials.

Each trial has one run, which is found again by its tags. Runs are changed only on the thread of the `OrderedWriter`.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param, Run

from mdr_tune.config.domains import LevelsDomain
from mdr_tune.config.strict_model import flatten, set_dotted
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.tracking.experiment import child_runs
from mdr_tune.tracking.tags import COMPLETE_TAG, OUTCOME_TAG, TRIAL_TAG, trial_tags
from mdr_tune.tracking.trial_models import MODEL_TAG, open_model
from mdr_tune.util.words import escaped

PARAM_VALUE_LIMIT = 6000
PARAMS_A_BATCH = 100
STATUS = {
    "completed": "FINISHED",
    "stopped_early": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "killed": "KILLED",
}
"""MLflow's status of a run for each outcome of its trial."""


LEVEL_PARTS = tuple(f"mdr.levels.{part}" for part in LevelsDomain.model_fields)
"""Keys of searched levels. A configuration has the levels themselves in their place."""
MDR_ON, MDR_OFF = "on", "off"


def trial_params(record: TrialRecord, config: TrialConfig) -> dict[str, Any]:
    """Return the parameters of the run of `record`'s trial, by dotted key, so that `config_of` returns its `config`.

    They are the whole configuration, and what was drawn in place of its keys: `mdr.levels.count`, or the name of a
    choice, such as `loss`. `mdr` is `on` or `off`. The drawn ones come first, as MLflow's pages keep the order.
    """
    flat = config.flat()
    sections = {key.rsplit(".", depth)[0] for key in flat for depth in range(1, key.count(".") + 1)}
    drawn = {key: value for key, value in record.parameters.items() if key in sections or key in LEVEL_PARTS}
    switch = {"mdr": drawn.get("mdr", MDR_ON) if config.mdr is not None else MDR_OFF}
    searched = {key: flat.get(key, drawn.get(key)) for key in record.parameters if key in flat or key in drawn}
    return {**searched, **switch, **flat, **switch}


def config_of(params: Mapping[str, str]) -> dict[str, Any]:
    """Return the nested configuration in `params`, the parameters of a trial's run. Older runs lack drawn ones."""
    kept = {key: text for key, text in params.items() if key not in LEVEL_PARTS}
    config: dict[str, Any] = {}
    for key, text in kept.items():
        if not any(other.startswith(f"{key}.") for other in kept):
            set_dotted(config, key, None if (key, text) == ("mdr", MDR_OFF) else literal(text))
    return config


def literal(text: str) -> Any:
    """Return the value of the Python literal `text`, such as 0.5 for `0.5`; `text` itself if it is not a literal."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Write `params` to the run `run_id`. A nested parameter is named by its dotted key.

    Each call to the store writes at most `PARAMS_A_BATCH` parameters, the limit of MLflow. Text that is not UTF-8 is
    escaped. A value is cut to `PARAM_VALUE_LIMIT` characters.
    """
    entries = [Param(key, escaped(str(value))[:PARAM_VALUE_LIMIT]) for key, value in flatten(dict(params)).items()]
    for first in range(0, len(entries), PARAMS_A_BATCH):
        client.log_batch(run_id, params=entries[first : first + PARAMS_A_BATCH])


@dataclass
class _TrialRun:
    """State of a trial's run as it was last read or written. It is kept to save calls to the store."""

    run_id: str
    status: str = "RUNNING"
    num_params: int = 0
    complete: str | None = None
    outcome: str = "running"
    model_id: str | None = None
    may_have_model: bool = False


class TrialRuns:
    """Finds, creates, reopens and closes the runs of trials below the run `parent_run_id`.

    `is_new` means that the parent run has just been created, so that no trial has a run yet.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, parent_run_id: str, is_new: bool) -> None:
        self._client, self._experiment_id, self._parent_run_id = client, experiment_id, parent_run_id
        self._in_doubt: set[str] = set()
        found = () if is_new else child_runs(client, experiment_id, parent_run_id)  # of earlier sessions
        self._runs: dict[str, _TrialRun] = {}
        for run in found:
            self._runs.setdefault(run.data.tags.get(TRIAL_TAG, ""), _known(run))

    def id_of(self, name: str) -> str:
        """Return the id of the run of the trial `name`. Raise KeyError if the trial has no run yet."""
        return self._runs[name].run_id

    def open(self, record: TrialRecord) -> str:
        """Return the id of the run of `record`'s trial; create the run if missing, reopen it if the trial goes on."""
        run = self._runs.get(record.name) or self._find_or_make(record)
        if run.status != "RUNNING" and record.outcome == "running":
            self._client.update_run(run.run_id, status="RUNNING")
            self._client.set_tag(run.run_id, OUTCOME_TAG, "running")
            run.status, run.outcome = "RUNNING", "running"
        return run.run_id

    def _find_or_make(self, record: TrialRecord) -> _TrialRun:
        """Create a trial's run. After a failed attempt to create it, look for the run first.

        The failed attempt may have created the run, if only the store's answer was lost.
        """
        if record.name in self._in_doubt:
            of_trial = f"tags.`{TRIAL_TAG}` = '{record.name}'"
            found = next(child_runs(self._client, self._experiment_id, self._parent_run_id, of_trial), None)
        else:
            found = None
        if found is None:
            self._in_doubt.add(record.name)
            tags = trial_tags(record, self._parent_run_id)
            found = self._client.create_run(self._experiment_id, tags=tags)
        self._in_doubt.discard(record.name)
        self._runs[record.name] = _known(found)
        return self._runs[record.name]

    def close(self, record: TrialRecord) -> None:
        """Set the final status of the run of `record`'s trial. This is the last write of a trial."""
        run, status = self._runs[record.name], STATUS[record.outcome]
        self._client.set_terminated(run.run_id, status)
        run.status, run.outcome, run.complete = status, record.outcome, str(record.epochs)

    def open_model(self, record: TrialRecord, params: Mapping[str, str], epoch: int, checkpoint: str) -> str:
        """Return the id of the logged model of `record`'s trial, which is created if it is missing, and linked.

        `params` are its parameters. Its weights are those of `epoch`, in the artifact folder `checkpoint` of the run.
        """
        run = self._runs[record.name]
        if run.model_id is None:
            may_exist, run.may_have_model = run.may_have_model, True
            run.model_id = open_model(
                self._client, self._experiment_id, run.run_id, record.name, params, epoch, checkpoint, may_exist
            )
        return run.model_id

    def model_id(self, record: TrialRecord) -> str | None:
        """Return the id of the logged model of `record`'s trial; None if it has none, as in older launches."""
        return self._runs[record.name].model_id

    def num_params(self, record: TrialRecord) -> int:
        """Return the number of parameters that the run of `record`'s trial has."""
        return self._runs[record.name].num_params

    def params_written(self, record: TrialRecord, count: int) -> None:
        """Remember that the run of `record`'s trial has `count` parameters."""
        self._runs[record.name].num_params = count

    def is_complete(self, record: TrialRecord) -> bool:
        """Say whether the run of `record`'s ended trial has all epochs, the outcome and the final status."""
        run = self._runs.get(record.name)
        wanted = (str(record.epochs), record.outcome, STATUS[record.outcome])
        return run is not None and (run.complete, run.outcome, run.status) == wanted


def _known(run: Run) -> _TrialRun:
    tags = run.data.tags
    return _TrialRun(
        run.info.run_id,
        run.info.status,
        len(run.data.params),
        tags.get(COMPLETE_TAG),
        tags.get(OUTCOME_TAG, "running"),
        tags.get(MODEL_TAG),
        may_have_model=bool(run.data.params),
    )
