"""The MLflow side of a sweep, read back from a real sqlite store."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.objectives import best_key
from mdr_tune.records.trial_record import Change, Outcome, TrialRecord
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.reader import read_sweep
from mdr_tune.tracking.runs_view import runs_page, runs_view
from mdr_tune.tracking.tags import TRIAL_TAG
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.tracking.trial_runs import PARAM_VALUE_LIMIT
from mdr_tune.tracking.writer import OrderedWriter, TrackingLost
from mdr_tune.util.errors import UserError

METRIC = "val/recall_at_1"
TRACEBACK = "Traceback (most recent call last):\n  ...\nTrialDiverged: the loss is not finite in epoch 1, step 2\n"
MakeTracker = Callable[..., Tracker]


def trial(name: str, weight: float = 0.1) -> TrialRecord:
    config = TrialConfig.model_validate({"epochs": 3, "mdr": {"weight": weight}})
    return TrialRecord(name, "mdr", 0, {"mdr.weight": weight}, config.model_dump())


def tell(tracker: Tracker, record: TrialRecord, recalls: list[float], outcome: Outcome, **extra: float) -> None:
    """Tell the tracker of a whole trial, one epoch for each recall."""
    tracker.trial_started(record)
    for epoch, recall in enumerate(recalls, 1):
        record.history.append({"epoch": float(epoch), METRIC: recall, "train/loss": 1 / epoch, **extra})
        tracker.epoch_finished(record)
    record.outcome = outcome
    tracker.trial_ended(record)


@pytest.fixture
def make_tracker(client: MlflowClient, artifact_root: Path, request: pytest.FixtureRequest) -> MakeTracker:
    """A tracker in an experiment of this test's own."""

    def make(**changes: Any) -> Tracker:
        experiment = open_experiment(client, f"{request.node.name}-{len(client.search_experiments())}", artifact_root)
        arguments = {"run_name": "x", "metric": METRIC, "params": {}, "files": {}, "checkpoints": "best"}
        return Tracker(client, experiment, **{**arguments, **changes})

    return make


@pytest.fixture(scope="module")
def sweep(client: MlflowClient, store: str) -> dict[str, Any]:
    """A sweep of four trials that end in the four ways; parent run and child runs by name, as MLflow has them."""
    root = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"
    tracker = Tracker(
        client,
        open_experiment(client, "four_outcomes", root),
        run_name="sweep 1",
        metric=METRIC,
        params={"metric": METRIC, "search": {"trials": 4, "scheduler": {"name": "asha"}}},
        files={"sweep.yaml": "name: four_outcomes\n"},
        checkpoints="best",
        local_draws=["Noise (noise) draws", "Norm (norm) has"],
    )
    done, stopped, failed, killed = (trial(name, 0.1 * i) for i, name in enumerate("abcd", 1))
    failed.error, done.device = TRACEBACK, "cpu"
    tell(tracker, done, [50.0, 62.5, 60.0], "completed")
    tell(tracker, stopped, [40.0], "stopped_early")
    tell(tracker, failed, [], "failed")
    tell(tracker, killed, [70.0, 30.0], "killed")
    tracker.test_scored(done, {"test/recall_at_1": 55.5, "test/map_at_r": 33.25})
    tracker.describe("### Winner: a", {"gain/val_over_triplet": 1.5})
    tracker.close("FINISHED")
    children = client.search_runs(
        [tracker.experiment_id], filter_string=f"tags.mlflow.parentRunId = '{tracker.parent_run_id}'"
    )
    return {
        "parent": client.get_run(tracker.parent_run_id),
        **{run.info.run_name: run for run in children},
        "run_ids": {record.name: tracker.run_id(record) for record in (done, stopped, failed, killed)},
        "all_runs": client.search_runs([tracker.experiment_id]),
    }


def history_of(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float]]:
    points = sorted(client.get_metric_history(run.info.run_id, key), key=lambda point: point.step)
    assert [p.timestamp for p in points] == sorted(p.timestamp for p in points)
    return [(point.step, point.value) for point in points]


def artifact(client: MlflowClient, run: Run, path: str, folder: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, path, str(folder))).read_text()


def test_one_parent_with_a_child_for_each_trial(sweep: dict[str, Any]) -> None:
    assert len(sweep["all_runs"]) == 5
    assert sweep["run_ids"] == {name: sweep[name].info.run_id for name in "abcd"}
    assert sweep["parent"].info.run_name == "sweep 1"
    assert "mlflow.parentRunId" not in sweep["parent"].data.tags


def test_parameters_are_the_flat_trial(sweep: dict[str, Any]) -> None:
    expected = TrialConfig.model_validate({"epochs": 3, "mdr": {"weight": 0.1}}).flat()
    params = sweep["a"].data.params
    assert params == {key: str(value) for key, value in expected.items()} | {"mdr": "on"}
    assert (params["mdr.weight"], params["mdr.levels"], params["loss.margin"]) == ("0.1", "[-3.0, 0.0, 3.0]", "0.2")
    assert sweep["b"].data.params["mdr.weight"] == "0.2"


def test_the_parent_has_the_sweep_s_parameters_and_files(
    client: MlflowClient, sweep: dict[str, Any], tmp_path: Path
) -> None:
    assert sweep["parent"].data.params == {"metric": METRIC, "search.trials": "4", "search.scheduler.name": "asha"}
    assert artifact(client, sweep["parent"], "sweep.yaml", tmp_path) == "name: four_outcomes\n"


def test_every_epoch_is_there_under_its_number(client: MlflowClient, sweep: dict[str, Any]) -> None:
    assert history_of(client, sweep["a"], METRIC) == [(1, 50.0), (2, 62.5), (3, 60.0)]
    assert history_of(client, sweep["a"], "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert history_of(client, sweep["d"], METRIC) == [(1, 70.0), (2, 30.0)]
    assert history_of(client, sweep["c"], METRIC) == []
    assert "epoch" not in sweep["a"].data.metrics
    assert sweep["a"].data.metrics["time/epochs"] == 3


def test_the_best_epoch_stands_beside_them(sweep: dict[str, Any]) -> None:
    assert best_key(METRIC) == "val/best_recall_at_1"
    assert (sweep["a"].data.metrics[best_key(METRIC)], sweep["a"].data.metrics["val/best_epoch"]) == (62.5, 2)
    assert (sweep["d"].data.metrics[best_key(METRIC)], sweep["d"].data.metrics["val/best_epoch"]) == (70.0, 1)
    assert best_key(METRIC) not in sweep["c"].data.metrics


def test_the_best_so_far_is_there_while_a_trial_runs(client: MlflowClient, sweep: dict[str, Any]) -> None:
    assert history_of(client, sweep["a"], best_key(METRIC)) == [(1, 50.0), (2, 62.5), (3, 62.5)]
    assert history_of(client, sweep["a"], "val/best_epoch") == [(1, 1), (2, 2), (3, 2)]


def test_the_parent_shows_the_best_so_far(client: MlflowClient, sweep: dict[str, Any]) -> None:
    assert history_of(client, sweep["parent"], best_key(METRIC)) == [(1, 62.5), (2, 62.5), (3, 62.5), (4, 70.0)]


@pytest.mark.parametrize(
    ("name", "status", "outcome"),
    [
        ("a", "FINISHED", "completed"),
        ("b", "FINISHED", "stopped_early"),
        ("c", "FAILED", "failed"),
        ("d", "KILLED", "killed"),
    ],
)
def test_how_a_trial_ended(sweep: dict[str, Any], name: str, status: str, outcome: str) -> None:
    run = sweep[name]
    assert (run.info.status, run.data.tags["outcome"]) == (status, outcome)
    assert (run.data.tags["arm"], run.data.tags[TRIAL_TAG]) == ("mdr", name)
    told = run.data.tags.get("differs_by_workers")
    assert told == ("Noise (noise) draws; Norm (norm) has" if status != "FAILED" else None)  # it had no epoch
    assert run.info.end_time >= run.info.start_time


def test_only_the_failed_trial_has_a_traceback(client: MlflowClient, sweep: dict[str, Any], tmp_path: Path) -> None:
    assert artifact(client, sweep["c"], "traceback.txt", tmp_path) == TRACEBACK
    assert [f.path for name in "abd" for f in client.list_artifacts(sweep[name].info.run_id)] == []


def test_test_metrics_stand_at_the_best_epoch(client: MlflowClient, sweep: dict[str, Any]) -> None:
    assert history_of(client, sweep["a"], "test/recall_at_1") == [(2, 55.5)]
    assert sweep["a"].data.tags["test_split_read"].endswith(", after epoch 2")
    assert "test_split_read" not in sweep["b"].data.tags
    assert history_of(client, sweep["a"], "test/map_at_r") == [(2, 33.25)]
    assert not any(key.startswith("test/") for key in sweep["d"].data.metrics)


def test_the_parent_is_described_and_closed(sweep: dict[str, Any]) -> None:
    parent = sweep["parent"]
    assert parent.data.tags["mlflow.note.content"] == "### Winner: a"
    assert parent.data.metrics["gain/val_over_triplet"] == 1.5
    assert parent.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("choice", "uploaded"),
    [
        ("best", {"best": "epoch 2"}),
        ("last", {"last": "epoch 3"}),
        ("all", {"epoch_0001": "epoch 1", "epoch_0002": "epoch 2", "epoch_0003": "epoch 3"}),
    ],
)
def test_checkpoints(
    make_tracker: MakeTracker, client: MlflowClient, tmp_path: Path, choice: str, uploaded: dict[str, str]
) -> None:
    record = trial("a")
    for epoch in (1, 2, 3):
        folder = tmp_path / f"checkpoint_{epoch}"
        folder.mkdir()
        (folder / "checkpoint.pt").write_text(f"epoch {epoch}")
        record.checkpoints[epoch] = str(folder)
    tracker = make_tracker(checkpoints=choice)
    tell(tracker, record, [50.0, 60.0, 55.0], "completed")
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id(record))
    folders = [Path(f.path).name for f in client.list_artifacts(run.info.run_id, "checkpoints")]
    assert {name: artifact(client, run, f"checkpoints/{name}/checkpoint.pt", tmp_path) for name in folders} == uploaded


def test_numbers_that_are_not_finite_become_a_tag(make_tracker: MakeTracker, client: MlflowClient) -> None:
    tracker, record = make_tracker(), trial("a")
    tell(tracker, record, [50.0], "completed", **{"mdr/std": math.nan, "mdr/level_0": -math.inf, "mdr/mean": 2.0})
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id(record))
    assert run.data.tags["non_finite_metrics"] == "mdr/level_0, mdr/std"
    assert {key for key in run.data.metrics if key.startswith("mdr/")} == {"mdr/mean"}
    assert run.data.metrics[METRIC] == 50.0


def test_more_parameters_than_a_batch_may_have_and_a_value_that_is_too_long(
    make_tracker: MakeTracker, client: MlflowClient
) -> None:
    params = {f"p{number:03d}": number for number in range(250)}  # MLflow refuses more than 100 at once
    tracker = make_tracker(params={**params, "long": "x" * (PARAM_VALUE_LIMIT + 5)})
    tracker.close("FINISHED")
    stored = client.get_run(tracker.parent_run_id).data.params
    assert stored == {**{key: str(value) for key, value in params.items()}, "long": "x" * PARAM_VALUE_LIMIT}


def test_a_trial_that_starts_twice_has_one_run(make_tracker: MakeTracker, client: MlflowClient) -> None:
    tracker, record = make_tracker(), trial("a")
    tracker.trial_started(record)
    tell(tracker, record, [50.0], "completed")
    tracker.close("FINISHED")
    assert len(client.search_runs([tracker.experiment_id])) == 2


def test_a_trial_is_readable_after_a_flush_and_the_sweep_goes_on(
    make_tracker: MakeTracker, client: MlflowClient
) -> None:
    tracker, first, second = make_tracker(), trial("a"), trial("b")
    tell(tracker, first, [50.0], "completed")
    tracker.flush()
    assert client.get_run(tracker.run_id(first)).info.status == "FINISHED"
    assert client.get_run(tracker.parent_run_id).info.status == "RUNNING"
    tell(tracker, second, [40.0], "completed")
    tracker.close("KILLED")
    assert client.get_run(tracker.run_id(second)).data.metrics[METRIC] == 40.0
    assert client.get_run(tracker.parent_run_id).info.status == "KILLED"


def test_the_parent_is_closed_even_though_a_write_was_lost(
    make_tracker: MakeTracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdr_tune.tracking.tracker.OrderedWriter", lambda: OrderedWriter(give_up_after_s=0.0))
    tracker, record = make_tracker(), trial("a")
    tracker.trial_started(record)
    tracker.describe("x", {"no number": "nonsense"})  # type: ignore[dict-item]
    with pytest.raises(TrackingLost, match="the description of the sweep"):
        tracker.flush()
    tracker.close("FAILED")
    assert client.get_run(tracker.parent_run_id).info.status == "FAILED"


def test_an_experiment_is_made_once_with_its_artifacts_beside_the_store(client: MlflowClient, tmp_path: Path) -> None:
    made = open_experiment(client, "made_once", tmp_path)
    assert open_experiment(client, "made_once", tmp_path / "elsewhere") == made
    assert client.get_experiment(made).artifact_location == (tmp_path / "made_once").as_uri()


def test_a_deleted_experiment_is_an_error_that_says_what_to_do(client: MlflowClient, tmp_path: Path) -> None:
    made = open_experiment(client, "deleted", tmp_path)
    client.delete_experiment(made)
    with pytest.raises(UserError, match=rf"'deleted' was deleted.*another name.*restore --experiment-id {made}"):
        open_experiment(client, "deleted", tmp_path)
    client.restore_experiment(made)
    assert open_experiment(client, "deleted", tmp_path) == made


def test_a_trial_that_diverged_has_no_value_that_anybody_sorts_by(
    make_tracker: MakeTracker, client: MlflowClient
) -> None:
    tracker, record = make_tracker(), trial("mdr-001")
    record.error = "all embeddings became one in epoch 3"
    tell(tracker, record, [50.0, 70.0], "diverged")
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id(record))
    assert (run.info.status, run.data.tags["outcome"], run.data.tags["why"]) == ("FAILED", "diverged", record.error)
    assert math.isnan(run.data.metrics[best_key(METRIC)])
    assert best_key(METRIC) not in client.get_run(tracker.parent_run_id).data.metrics
    assert client.list_artifacts(run.info.run_id) == []
    order = [f"metrics.`{best_key(METRIC)}` DESC"]
    found = client.search_runs([tracker.experiment_id], "tags.arm = 'mdr'", order_by=order)
    assert math.isnan(found[0].data.metrics[best_key(METRIC)])


def test_what_changed_and_what_was_noted(make_tracker: MakeTracker, client: MlflowClient) -> None:
    tracker, record = make_tracker(), trial("mdr-001")
    tracker.trial_started(record)
    changes = {1: Change(1, "mdr-003", {"mdr.weight": 0.12}), 3: Change(3, "mdr-002", {"mdr.weight": 0.1})}
    for epoch in range(1, 5):
        record.history.append({"epoch": float(epoch), METRIC: 50.0})
        tracker.epoch_finished(record)
        if epoch in changes:
            record.changes.append(changes[epoch])
            tracker.trial_noted(record)
    for note in ("the lane lost a worker", "a checkpoint is damaged"):
        record.notes.append(note)
        tracker.trial_noted(record)
    record.outcome = "completed"
    tracker.trial_ended(record)
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id(record))
    assert history_of(client, run, "pbt/mdr.weight") == [(1, 0.1), (2, 0.12), (3, 0.12), (4, 0.1)]
    assert run.data.tags["pbt.exploited"] == "epoch 1 from mdr-003; epoch 3 from mdr-002"
    assert run.data.tags["notes"] == "the lane lost a worker; a checkpoint is damaged"
    assert "pbt/optimizer.learning_rate" not in run.data.metrics


def test_the_first_seed_s_run_has_the_mean(make_tracker: MakeTracker, client: MlflowClient) -> None:
    tracker = make_tracker()
    seeds = [trial(name) for name in ("mdr-007", "mdr-007.2", "mdr-007.3")]
    for index, (record, recall) in enumerate(zip(seeds, [60.0, 63.0, 66.0], strict=True)):
        record.seed_index = index
        tell(tracker, record, [recall, recall - 1], "completed")
    tracker.close("FINISHED")
    first, second = (client.get_run(tracker.run_id(record)) for record in seeds[:2])
    assert history_of(client, first, "val/mean_best_recall_at_1") == [(2, 61.5), (3, 63.0)]
    assert first.data.metrics["val/seeds"] == 3
    assert (second.data.tags["config"], second.data.tags["seed_index"]) == ("mdr-007", "1")
    assert "val/seeds" not in second.data.metrics


def test_the_second_objective_belongs_to_the_best_epoch_or_is_a_mean(
    make_tracker: MakeTracker, client: MlflowClient
) -> None:
    values: dict[str, float] = {}
    for second in ("val/map_at_r", "time/images_per_s"):
        tracker, record = make_tracker(second_metric=second), trial("mdr-001")
        tracker.trial_started(record)
        for epoch, (recall, other) in enumerate([(50.0, 10.0), (60.0, 20.0), (55.0, 60.0)], 1):
            record.history.append({"epoch": float(epoch), METRIC: recall, second: other})
            tracker.epoch_finished(record)
        record.outcome = "completed"
        tracker.trial_ended(record)
        tracker.close("FINISHED")
        metrics = client.get_run(tracker.run_id(record)).data.metrics
        values |= {key: value for key, value in metrics.items() if key.startswith("objective/")}
    assert values == {"objective/map_at_r": 20.0, "objective/images_per_s": 30.0}


def test_what_repeats_a_trial_lies_in_its_run(make_tracker: MakeTracker, client: MlflowClient, tmp_path: Path) -> None:
    tracker = make_tracker(repeat=lambda record: {"command": "launch.py", "seed": record.config["seed"]})
    record = trial("mdr-001")
    record.device = "cpu"
    tell(tracker, record, [50.0], "completed")
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id(record))
    assert json.loads(artifact(client, run, "repeat.json", tmp_path)) == {"command": "launch.py", "seed": 0}
    assert (run.data.tags["device"], run.data.tags["compiled"]) == ("cpu", "no")


def test_a_run_says_that_its_network_was_compiled(make_tracker: MakeTracker, client: MlflowClient) -> None:
    tracker, record = make_tracker(), trial("mdr-001")
    record.config["compile"], record.device = True, "cpu"
    tell(tracker, record, [50.0], "completed")
    tracker.close("FINISHED")
    assert client.get_run(tracker.run_id(record)).data.tags["compiled"] == "yes"


def test_a_description_so_far_is_replaced_and_not_missed(
    make_tracker: MakeTracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = make_tracker()
    tracker.note("1 of 2 done")
    tracker.flush()
    assert client.get_run(tracker.parent_run_id).data.tags["mlflow.note.content"] == "1 of 2 done"

    def refuse(*_: Any) -> None:
        raise ConnectionError("the store is away")

    with monkeypatch.context() as away:
        away.setattr(client, "set_tag", refuse)
        tracker.note("2 of 2 done")
        tracker.flush()  # neither retried nor lost
    assert client.get_run(tracker.parent_run_id).data.tags["mlflow.note.content"] == "1 of 2 done"
    tracker.describe("### Winner", {})
    tracker.close("FINISHED")
    assert client.get_run(tracker.parent_run_id).data.tags["mlflow.note.content"] == "### Winner"


def test_what_is_not_utf_8_is_escaped(client: MlflowClient, make_tracker: MakeTracker, tmp_path: Path) -> None:
    command = "launch.py --space r\udce9.yaml"
    tracker = make_tracker(params={"file": "r\udce9.yaml"}, files={"command.txt": command}, run_name="r\udce9")
    record = trial("a")
    record.error = "Traceback:\nOSError: r\udce9"
    tell(tracker, record, [], "failed")
    tracker.close("FINISHED")
    parent, run = client.get_run(tracker.parent_run_id), client.get_run(tracker.run_id(record))
    assert (parent.info.run_name, parent.data.params["file"]) == ("r\\xe9", "r\\xe9.yaml")
    assert artifact(client, parent, "command.txt", tmp_path) == "launch.py --space r\\xe9.yaml"
    assert artifact(client, run, "traceback.txt", tmp_path).endswith("OSError: r\\xe9")


def test_the_use_of_the_machines_is_beside_the_results(client: MlflowClient, make_tracker: MakeTracker) -> None:
    tracker, running, done = make_tracker(), trial("a"), trial("b")
    tell(tracker, done, [50.0], "completed")
    tracker.trial_started(running)
    running.history.append({"epoch": 1.0, METRIC: 40.0})
    tracker.epoch_finished(running)
    tracker.flush()
    cpu = "cpu_utilization_percentage"
    tracker.measured([("a", {cpu: 25.0}), ("b", {cpu: 30.0}), (None, {cpu: 35.0})])
    tracker.measured([("unknown", {}), (None, {cpu: 36.0}), (None, {})])
    tracker.flush()

    def system(run_id: str) -> dict[str, float]:
        metrics = client.get_run(run_id).data.metrics
        return {key: value for key, value in metrics.items() if key.startswith("system/")}

    assert system(tracker.run_id(running)) == {f"system/{cpu}": 25.0}
    assert system(tracker.run_id(done)) == {}  # it had ended
    lanes = {f"system/lane_{lane}/{cpu}": value for lane, value in ((0, 25.0), (1, 36.0), (2, 35.0))}
    assert system(tracker.parent_run_id) == lanes
    name = client.get_experiment(tracker.experiment_id).name
    assert all(METRIC in one.metrics and len(system_keys(one.metrics)) == 0 for one in read_sweep(client, name).trials)


def system_keys(metrics: dict[str, float]) -> list[str]:
    return [key for key in metrics if key.startswith("system/")]


def test_a_store_that_takes_no_use_of_machines_loses_nothing_else(
    client: MlflowClient, make_tracker: MakeTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = make_tracker()
    monkeypatch.setattr(tracker, "parent_run_id", "0" * 32)
    tracker.measured([(None, {"cpu_utilization_percentage": 25.0})])
    tracker.flush()  # no TrackingLost


def test_the_metric_and_the_searched_parameters_come_first(client: MlflowClient, make_tracker: MakeTracker) -> None:
    tracker, record = make_tracker(), trial("a")
    tell(tracker, record, [50.0], "completed")
    tracker.flush()
    run = client.get_run(tracker.run_id(record))
    assert next(iter(run.data.metrics)) == best_key(METRIC)
    assert next(iter(run.data.params)) == "mdr.weight"


def test_a_view_of_the_runs_is_kept_for_the_printed_address(client: MlflowClient, make_tracker: MakeTracker) -> None:
    tracker = make_tracker(
        view=lambda parent: runs_view(parent, best_key(METRIC), ["test/recall_at_1"], ["mdr.weight"])
    )
    tracker.flush()
    name = runs_page("7", tracker.parent_run_id).rpartition("viewStateShareKey=")[2]
    view = json.loads(client.get_experiment(tracker.experiment_id).tags[f"mlflow.sharedViewState.{name}"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`val/best_recall_at_1`", False)
    assert view["searchFilter"] == f"tags.mlflow.parentRunId = '{tracker.parent_run_id}'"
    assert client.search_runs([tracker.experiment_id], view["searchFilter"]) == []  # MLflow takes the filter
    assert view["compareRunCharts"][0]["selectedParams"] == ["mdr.weight"]
