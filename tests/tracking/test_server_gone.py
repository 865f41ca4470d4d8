"""The MLflow server is killed in the middle of a sweep and started again: everything arrives, in order, once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.tracker import Tracker
from tests.mlflow_process import Server
from tests.tracking.stored import METRIC, add_epoch, checkpoint, make_trial, splits, stored

GONE_FOR_S = 3.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.slow  # tests/faults does the same within a whole sweep
def test_a_server_that_is_gone_for_a_while(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mdr_tune.tracking.writer.FIRST_RETRY_S", 0.1)
    monkeypatch.setattr("mdr_tune.tracking.writer.LONGEST_RETRY_S", 0.5)
    client = MlflowClient(server.uri)

    def sweep(name: str, is_disturbed: bool) -> dict[str, object]:
        experiment = open_experiment(client, name, None)
        tracker = Tracker(
            client,
            experiment,
            run_name="x",
            metric=METRIC,
            params={},
            files={},
            checkpoints="best",
            repeat=lambda record: {"config": record.config},
            splits=splits,
        )
        for number, outcome in enumerate(["completed", "stopped_early", "failed", "diverged"], 1):
            record = make_trial(f"mdr-{number:03d}", weight=0.1 * number)
            tracker.trial_started(record)
            for epoch in range(1, 4):
                add_epoch(record, 40.0 + 5 * number + epoch)
                checkpoint(record, tmp_path / name)
                tracker.epoch_finished(record)
                if is_disturbed and (number, epoch) == (2, 1):
                    tracker.flush()
                    server.kill()
            record.outcome = outcome  # type: ignore[assignment]
            record.error = "why" if outcome in ("failed", "diverged") else None
            tracker.trial_ended(record)
        if is_disturbed:
            time.sleep(GONE_FOR_S)
            server.start()
        tracker.close("FINISHED")
        return stored(client, experiment, tracker.parent_run_id)

    undisturbed, disturbed = sweep("undisturbed", is_disturbed=False), sweep("disturbed", is_disturbed=True)
    assert repr(disturbed) == repr(undisturbed)  # text, as NaN is not equal to itself
    trials = disturbed["trials"]
    assert isinstance(trials, dict)
    assert [len(runs) for runs in trials.values()] == [1, 1, 1, 1]
    (second,) = trials["mdr-002"]
    assert second["metrics"][METRIC] == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert second["files"] == ["checkpoints/best/checkpoint.pt", "repeat.json"]
    assert "was not written" not in capfd.readouterr().err
