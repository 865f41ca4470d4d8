"""What a trial's run has of its evaluation on the test classes."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.tracking.query_scores import read_details
from tests.tracking.stored import Counting, add_epoch, all_files, history, make_trial
from tests.tracking.test_details_files import DETAILS
from tests.tracking.told import open_tracker, plain, tell

SCORES = {"test/recall_at_1": 55.5, "test/map_at_r": 33.25}
FILES = ["test/class_centres.parquet", "test/gallery.parquet", "test/queries.parquet"]


def finished(name: str, **curves: float) -> TrialRecord:
    record = make_trial(name, outcome="completed")
    for recall in (50.0, 62.5, 60.0):
        add_epoch(record, recall)
        record.history[-1].update(curves)
    return record


def test_metrics_files_and_when_it_was_read(client: MlflowClient, artifact_root: Path, tmp_path: Path) -> None:
    tracker, record, other = open_tracker(client, "scored", artifact_root), finished("mdr-001"), finished("mdr-002")
    for trial, details in ((record, DETAILS), (other, None)):
        tell(tracker, trial)
        tracker.test_scored(trial, SCORES, details)
    tracker.close("FINISHED")
    run, without = (client.get_run(tracker.run_id(trial)) for trial in (record, other))
    assert history(client, run, "test/recall_at_1") == history(client, without, "test/recall_at_1") == [(2, 55.5)]
    assert run.data.tags["test_split_read"].endswith(", after epoch 2")
    assert all_files(client, run.info.run_id) == FILES
    assert all_files(client, without.info.run_id) == []
    folder = Path(client.download_artifacts(run.info.run_id, "test", str(tmp_path)))
    assert plain(read_details(folder)) == plain(DETAILS)


def test_a_session_that_tells_it_again_writes_nothing(client: MlflowClient, artifact_root: Path) -> None:
    counting = Counting(client)
    tracker, record = open_tracker(counting, "scored_again", artifact_root), finished("mdr-001")  # type: ignore[arg-type]
    tell(tracker, record)
    tracker.test_scored(record, SCORES, DETAILS)
    tracker.flush()
    writes, before = counting.writes, client.get_run(tracker.run_id(record))
    tracker.test_scored(record, SCORES, DETAILS)
    tracker.flush()
    assert counting.writes == writes
    add_epoch(record, 70.0)
    tracker.test_scored(record, {**SCORES, "test/recall_at_1": 58.0}, DETAILS)  # the sweep went on: a better epoch
    tracker.close("FINISHED")
    after = client.get_run(tracker.run_id(record))
    assert history(client, after, "test/recall_at_1") == [(2, 55.5), (4, 58.0)]
    assert before.data.tags["test_split_read"] != after.data.tags["test_split_read"]


def test_an_answer_that_is_lost_is_written_once(
    client: MlflowClient, artifact_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdr_tune.tracking.writer.FIRST_RETRY_S", 0.001)
    lost: list[int] = []

    def lose(number: int) -> None:
        if counting.scored and len(lost) < 2:  # the files, then the metrics
            lost.append(number)
            raise ConnectionError("the answer was lost")

    counting = Counting(client, after=lose)
    counting.scored = False  # type: ignore[attr-defined]
    tracker, record = open_tracker(counting, "scored_lost", artifact_root), finished("mdr-001")  # type: ignore[arg-type]
    tell(tracker, record)
    tracker.flush()
    counting.scored = True  # type: ignore[attr-defined]
    tracker.test_scored(record, SCORES, DETAILS)
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id(record))
    assert len(lost) == 2
    assert history(client, run, "test/recall_at_1") == [(2, 55.5)]
    assert all_files(client, run.info.run_id) == FILES


def read_tag(run: Run) -> str:
    return run.data.tags["test_split_read"]


def test_curves_of_the_test_classes_are_said(client: MlflowClient, artifact_root: Path) -> None:
    tracker = open_tracker(client, "curves_said", artifact_root)
    running = finished("mdr-001", **{"curves/test_recall_at_1": 50.0})
    scored = finished("mdr-002", **{"curves/test_recall_at_1": 50.0})
    train = finished("mdr-003", **{"curves/train_recall_at_1": 50.0})
    for record in (running, scored, train):
        tell(tracker, record)
    tracker.test_scored(scored, SCORES)
    tracker.close("FINISHED")
    runs = [client.get_run(tracker.run_id(record)) for record in (running, scored, train)]
    assert read_tag(runs[0]) == "after every epoch (curves)"
    assert read_tag(runs[1]).startswith("after every epoch (curves); ")
    assert read_tag(runs[1]).endswith(", after epoch 2")
    assert "test_split_read" not in runs[2].data.tags
