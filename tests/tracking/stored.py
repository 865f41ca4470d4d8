"""What a store holds of a launch, to be compared with what it holds of another; and clients that fail on purpose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.tracking.experiment import child_runs
from mdr_tune.tracking.run_inputs import Context, DataSplit

METRIC = "val/recall_at_1"
IDENTIFYING = ("mlflow.parentRunId", "mlflow.user", "mlflow.source.name", "mdr_tune.model")


def make_trial(name: str, weight: float = 0.1, epochs: int = 3, **changes: Any) -> TrialRecord:
    config = TrialConfig.model_validate({"epochs": epochs, "mdr": {"weight": weight}})
    return TrialRecord(name, "mdr", 0, {"mdr.weight": weight}, config.model_dump(), **changes)


def add_epoch(record: TrialRecord, recall: float) -> None:
    epoch = len(record.history) + 1
    record.history.append(
        {"epoch": float(epoch), METRIC: recall, "train/loss": 1 / epoch, "time/images_per_s": 100.0 * epoch}
    )


def checkpoint(record: TrialRecord, folder: Path) -> None:
    """Give the trial a checkpoint of its last epoch."""
    where = folder / record.name / f"checkpoint_{record.epochs:06d}"
    where.mkdir(parents=True, exist_ok=True)
    (where / "checkpoint.pt").write_text(f"{record.name} after epoch {record.epochs}")
    record.checkpoints[record.epochs] = str(where)


def history(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float]]:
    """Return (step, value) as they are stored: a step that is there twice comes twice."""
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))


def all_files(client: MlflowClient, run_id: str, path: str | None = None) -> list[str]:
    found: list[str] = []
    for entry in client.list_artifacts(run_id, path):
        found += all_files(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


def splits(config: TrialConfig) -> list[DataSplit]:
    """What a launch says of the data of its trials."""
    sizes: dict[Context, int] = {"training": 40, "validation": 20, "test": 30}
    return [
        DataSplit("glyphs", context, images, images // 4, "0123456789abcdef" * 2, {})
        for context, images in sizes.items()
    ]


def inputs_of(run: Run) -> dict[str, tuple[str, str]]:
    """Return (digest, context) of each data set that a run used, by name."""
    found = [(one.dataset, {tag.key: tag.value for tag in one.tags}) for one in run.inputs.dataset_inputs]
    assert len({dataset.name for dataset, _ in found}) == len(found)
    return {dataset.name: (dataset.digest, tags["mlflow.data.context"]) for dataset, tags in found}


def model_of(client: MlflowClient, run: Run) -> dict[str, Any] | None:
    """Return the logged model that a run made, without ids and times; None if there is none."""
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert [model.model_id for model in found] == [link.model_id for link in run.outputs.model_outputs]
    if not found:
        return None
    (model,) = found
    metrics = sorted((one.key, one.step, one.value, one.dataset_name) for one in model.metrics or ())
    return {"name": model.name, "status": str(model.status), "metrics": metrics, "params": dict(model.params)}


def stored(client: MlflowClient, experiment_id: str, parent_run_id: str) -> dict[str, Any]:
    """Return all that a launch left in the store, without ids and times; child runs by name, those of a name in a
    list."""

    def of(run: Run) -> dict[str, Any]:
        return {
            "status": run.info.status,
            "tags": {key: value for key, value in run.data.tags.items() if key not in IDENTIFYING},
            "params": run.data.params,
            "metrics": {key: history(client, run, key) for key in sorted(run.data.metrics)},
            "files": all_files(client, run.info.run_id),
            "inputs": inputs_of(run),
            "model": model_of(client, run),
        }

    children: dict[str, list[dict[str, Any]]] = {}
    for run in child_runs(client, experiment_id, parent_run_id):
        children.setdefault(run.info.run_name, []).append(of(run))
    return {"parent": of(client.get_run(parent_run_id)), "trials": children}


class Counting:
    """A client that counts its calls, and calls `before` and `after` with the number of each.

    Only what writes is counted.
    """

    WRITES = (
        *("create_run", "log_batch", "log_text", "log_artifacts", "set_tag", "update_run", "set_terminated"),
        *("log_inputs", "log_outputs", "create_logged_model", "finalize_logged_model", "set_experiment_tag"),
    )

    def __init__(
        self,
        client: MlflowClient,
        before: Callable[[int], None] = lambda number: None,
        after: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._client, self._before, self._after = client, before, after
        self.writes, self.calls = 0, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **named: Any) -> Any:
            self.calls += 1
            if name not in self.WRITES:
                return method(*args, **named)
            self.writes += 1
            number = self.writes
            self._before(number)
            result = method(*args, **named)
            self._after(number)
            return result

        return call
