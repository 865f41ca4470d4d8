"""What a report is made of, as it is read back, against what was told to the tracker."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.tracking.evidence import read_evidence
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.util.errors import UserError
from tests.report.make_evidence import make_evidence
from tests.tracking.stored import add_epoch, make_trial
from tests.tracking.told import open_tracker, plain, tell, told


@pytest.fixture(scope="module")
def original() -> SweepEvidence:
    """An ablation with a baseline, two seeds each, one of which diverged."""
    evidence = make_evidence(seeds=2)
    for trial in evidence.sweep.trials:
        trial.record.config.setdefault("mdr", None)
    return evidence


@pytest.fixture(scope="module")
def tracker(client: MlflowClient, store: str, original: SweepEvidence) -> Tracker:
    root = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"
    tracker = told(client, original, "evidence", root)
    tracker.flush()
    return tracker


@pytest.fixture(scope="module")
def found(client: MlflowClient, tracker: Tracker) -> SweepEvidence:
    running = read_evidence(client, "evidence")
    assert (running.sweep.status, running.facts.ended) == ("RUNNING", None)
    tracker.close("FINISHED")
    return read_evidence(client, "evidence")


def test_every_record_comes_back_whole(original: SweepEvidence, found: SweepEvidence) -> None:
    assert [trial.record.name for trial in found.sweep.trials] == [t.record.name for t in original.sweep.trials]
    for told_trial, trial in zip(original.sweep.trials, found.sweep.trials, strict=True):
        assert trial.record.history == told_trial.record.history
        assert trial.record.distances == told_trial.record.distances
        for key in ("seed", "seed_index", "outcome", "parameters", "device", "config", "epochs", "error"):
            assert getattr(trial.record, key) == getattr(told_trial.record, key), key


def test_final_metrics_come_back(original: SweepEvidence, found: SweepEvidence) -> None:
    for told_trial, trial in zip(original.sweep.trials, found.sweep.trials, strict=True):
        expected = dict(told_trial.metrics)
        if trial.record.outcome == "diverged":
            del expected["val/best_recall_at_1"]
        assert {key: value for key, value in trial.metrics.items() if key in expected} == expected


def test_details_come_back(original: SweepEvidence, found: SweepEvidence) -> None:
    assert set(found.details) == set(original.details) < {trial.record.name for trial in original.sweep.trials}
    for name, details in original.details.items():
        assert plain(found.details[name]) == plain(details)


def test_facts_come_back(client: MlflowClient, original: SweepEvidence, found: SweepEvidence) -> None:
    run = client.get_run(found.sweep.parent_run_id)
    times = {"started": run.info.start_time, "ended": run.info.end_time}
    assert {key: round(getattr(found.facts, key).timestamp() * 1000) for key in times} == times
    same = {"started": original.facts.started, "ended": original.facts.ended}
    assert dataclasses.replace(found.facts, **same) == original.facts


def test_a_sweep_of_an_earlier_version(client: MlflowClient, artifact_root: Path) -> None:
    params = {"search": {"sampler": "tpe", "seeds_per_trial": 1}, "versions": {"python": "3.12", "mdr_tune": "0.1.0"}}
    tracker = open_tracker(client, "earlier", artifact_root, params=params)
    record = make_trial("mdr-001", outcome="completed")
    for recall in (50.0, 62.5):
        add_epoch(record, recall)
    tell(tracker, record)
    tracker.test_scored(record, {"test/recall_at_1": 55.5})
    tracker.close("FINISHED")
    found = read_evidence(client, "earlier")
    (trial,) = found.sweep.trials
    assert (trial.record.history, trial.record.distances, trial.record.notes) == (record.history, [], [])
    assert (found.details, trial.metrics["test/recall_at_1"]) == ({}, 55.5)
    facts = found.facts
    assert (facts.sampler, facts.seeds, facts.epochs, facts.protocol) == ("tpe", [0], [3], "validation")
    assert (facts.versions, facts.commit) == ({"python": "3.12", "mdr_tune": "0.1.0"}, None)
    assert (facts.command, facts.sweep_file, facts.devices, facts.images) == ("", "", [], {})


def test_changes_and_the_authors_protocol_are_said(client: MlflowClient, artifact_root: Path) -> None:
    repeat = {"versions": {"torch": "2"}, "source": {"commit": "abc", "dirty": True}}
    tracker = open_tracker(client, "dirty", artifact_root, repeat=lambda record: repeat)
    record = make_trial("mdr-001", outcome="completed")
    record.config["protocol"] = "paper"
    tell(tracker, record)
    tracker.close("FINISHED")
    facts = read_evidence(client, "dirty").facts
    assert (facts.protocol, facts.commit, facts.versions) == ("paper", "abc + changes", {"torch": "2"})


@pytest.fixture
def folder_of(client: MlflowClient, artifact_root: Path, request: pytest.FixtureRequest) -> Any:
    """Records the small ablation anew; returns its tracker, and a function to the artifacts of a trial's run."""
    evidence = make_evidence(seeds=1)
    for trial in evidence.sweep.trials:
        trial.record.config.setdefault("mdr", None)
    tracker = told(client, evidence, request.node.name, artifact_root)
    tracker.close("FINISHED")
    runs = {trial.record.name: tracker.run_id(trial.record) for trial in evidence.sweep.trials}
    return request.node.name, runs, lambda name: artifact_root / request.node.name / runs[name] / "artifacts"


def test_artifacts_that_are_lost_or_damaged_are_left_out(client: MlflowClient, folder_of: Any) -> None:
    name, _, folder = folder_of
    shutil.rmtree(folder("mdr-001"))
    (folder("mdr-002") / "distances.json").write_text("[{")
    (folder("triplet-001") / "distances.json").write_text(json.dumps([{"epoch": 1, "new": 2}]))
    (folder("triplet-002") / "test" / "queries.parquet").unlink()
    (folder("triplet_l2-001") / "test" / "gallery.parquet").write_bytes(b"cut")
    found = read_evidence(client, name)
    records = {record.name: record for record in found.sweep.records}
    assert [len(record.history) for record in records.values()] == [8] * 6
    assert set(found.details) == {"mdr-002", "triplet-001", "triplet_l2-002"}
    assert [key for key, record in records.items() if record.distances] == [
        "triplet-002",
        "triplet_l2-001",
        "triplet_l2-002",
    ]
    noted = [key for key, record in records.items() if record.notes]
    assert noted == ["mdr-002", "triplet-001", "triplet-002", "triplet_l2-001"]
    assert "cannot be read" in records["mdr-002"].notes[0]
    assert found.facts.versions["torch"] == "2.14.0"  # of the first trial that says it


def test_runs_that_were_deleted_are_left_out(
    client: MlflowClient, folder_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, runs, folder = folder_of
    client.delete_run(runs["mdr-001"])
    found = read_evidence(client, name)
    assert len(found.sweep.trials) == 5
    assert "mdr-001" not in found.details

    def deleted_meanwhile(run_id: str, key: str) -> Any:
        if run_id == runs["triplet-001"]:  # as `mlflow gc` does it
            client._tracking_client.store._hard_delete_run(run_id)
            shutil.rmtree(folder("triplet-001"), ignore_errors=True)  # for each metric anew
        return MlflowClient.get_metric_history(client, run_id, key)

    monkeypatch.setattr(client, "get_metric_history", deleted_meanwhile)
    names = [record.name for record in read_evidence(client, name).sweep.records]
    assert names == ["mdr-002", "triplet-002", "triplet_l2-001", "triplet_l2-002"]


def test_a_launch_without_a_trial_is_a_user_s_mistake(client: MlflowClient, artifact_root: Path) -> None:
    tracker = open_tracker(client, "no_trial", artifact_root)
    with pytest.raises(UserError, match="no_trial: no trial is recorded"):
        read_evidence(client, "no_trial")
    tracker.close("FINISHED")
    with pytest.raises(UserError, match="no sweep 'no_such_trial'"):
        read_evidence(client, "no_such_trial")
