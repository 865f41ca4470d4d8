"""An ablation on a real lane: all seeds of all configurations, all of them evaluated on the test classes."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from mlflow import MlflowClient
from mlflow.entities import Run

from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.sweep.recording import LaunchOutcome, LaunchReport
from mdr_tune.tracking.query_scores import read_details
from tests.faults.sweeps import SWEEP, in_mlflow, run, same_each_run

pytestmark = pytest.mark.ray
ABLATION = {
    "search": {"sampler": "grid", "scheduler": "none", "seeds": [5, 2]},
    "space": {"mdr.weight": {"choice": [0.1, 1e39]}},  # the second is infinite in float32: it diverges
    "baselines": ["triplet"],
    "second_metric": None,
    "start_from": [],
}


def test_every_trial_that_ran_to_its_end_is_evaluated(hub: Any, tmp_path: Path) -> None:
    outcome, _ = run(hub, tmp_path, **ABLATION)
    records = {record.name: record for record in outcome.result.records}
    seeds = {name: record.seed for name, record in records.items()}
    assert seeds == {"mdr-001": 5, "mdr-001.2": 2, "mdr-002": 5, "mdr-002.2": 2, "triplet-001": 5, "triplet-001.2": 2}
    ended = {name for name, record in records.items() if record.outcome == "completed"}
    assert ended == set(seeds) - {"mdr-002", "mdr-002.2"}
    assert set(outcome.result.tests) == ended
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    in_store = in_mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for name in ended:
        stored = in_store[name]
        tests = outcome.result.tests[name]
        assert {key: values[-1][1] for key, values in stored["metrics"].items() if key.startswith("test/")} == tests
        assert {"distances.json", "test/queries.parquet", "test/gallery.parquet"} <= set(stored["artifacts"])
        assert records[name].distances[-1].epoch == records[name].epochs
    check_report(client, outcome.report, set(seeds))
    experiment = client.get_experiment_by_name("faults")
    (run_of,) = client.search_runs([experiment.experiment_id], "tags.`mlflow.runName` = 'mdr-001.2'")
    details = read_details(Path(client.download_artifacts(run_of.info.run_id, "test")))
    recall = details.per_query("recall_at_1").mean()
    assert recall == pytest.approx(outcome.result.tests["mdr-001.2"]["test/recall_at_1"])


def check_report(client: MlflowClient, report: LaunchReport | None, trials: set[str]) -> None:
    """Compute the table, and a difference, from the raw metrics of MLflow's runs alone."""
    assert report is not None
    assert report.page is not None
    values = {
        run.info.run_name: {key: value for key, value in run.data.metrics.items() if key.startswith("test/")}
        for run in runs_of(client)
        if run.info.run_name in trials
    }
    rows = {
        row["configuration"]: row
        for row in csv.DictReader((report.page.parent / "tables" / "faults.csv").open())
        if row["metric"] == "test/recall_at_1"
    }
    for name in ("mdr-001", "triplet-001"):
        both = [values[seed]["test/recall_at_1"] for seed in (name, f"{name}.2")]
        assert float(rows[name]["mean"]) == pytest.approx(np.mean(both))
        low, high = scipy.stats.t.interval(0.95, 1, np.mean(both), scipy.stats.sem(both))
        assert (float(rows[name]["low"]), float(rows[name]["high"])) == pytest.approx((low, high))
    (difference,) = csv.DictReader((report.page.parent / "tables" / "faults_differences.csv").open())
    found = scipy.stats.ttest_rel(
        *([values[seed]["test/recall_at_1"] for seed in (name, f"{name}.2")] for name in ("mdr-001", "triplet-001"))
    )
    assert float(difference["p"]) == pytest.approx(found.pvalue)
    assert "2" in rows["mdr-001"]["n"]


@pytest.mark.slow
def test_the_protocol_of_the_paper_chooses_the_epoch_on_the_test_classes(hub: Any, tmp_path: Path) -> None:
    changes = {**ABLATION, "trial": {**SWEEP["trial"], "protocol": "paper"}, "metric": "curves/test_recall_at_1"}
    outcome, _ = run(hub, tmp_path, **{**changes, "space": {}, "baselines": ["triplet"]})
    assert outcome.problem is None
    for record in outcome.result.records:
        best, epoch = record.best("curves/test_recall_at_1") or (0.0, 0)
        assert best == max(entry["curves/test_recall_at_1"] for entry in record.history)
        at_best = next(same_each_run(entry) for entry in record.history if entry["epoch"] == epoch)
        scores = outcome.result.tests[record.name]
        assert {key.replace("test/", "curves/test_"): value for key, value in scores.items()} == {
            key: value for key, value in at_best.items() if key.startswith("curves/test_")
        }
    check_nothing_is_called_validation(MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"), outcome)


def check_nothing_is_called_validation(client: MlflowClient, outcome: LaunchOutcome) -> None:
    """With the authors' protocol no number is one of validation, wherever it is said."""
    parent = client.get_run(outcome.parent_run_id)
    assert not [key for key in parent.data.metrics if "val" in key]
    assert not [key for run in runs_of(client) for key in run.data.metrics if key.startswith("val/re")]
    description = parent.data.tags["mlflow.note.content"]
    (version,) = client.search_model_versions("name = 'faults'")
    assert outcome.report is not None
    assert outcome.report.page is not None
    report = (outcome.report.page.parent / "report.md").read_text()
    told = {"description": description, "version": version.description, "report": report.split("How the numbers")[0]}
    for what, text in told.items():
        without_images = "\n".join(line for line in text.splitlines() if "Images" not in line)
        assert "valid" not in without_images, what
    assert "as the authors do" in description
    assert "as the authors do" in report


def runs_of(client: MlflowClient) -> list[Run]:
    return list(client.search_runs([client.get_experiment_by_name("faults").experiment_id], max_results=100))


@pytest.mark.slow
def test_an_ablation_whose_report_cannot_be_written_is_described_all_the_same(hub: Any, tmp_path: Path) -> None:
    def block(record: TrialRecord) -> None:
        folder = next((tmp_path / "sweeps" / "faults").iterdir()) / "report"
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")

    outcome, _ = run(hub, tmp_path, {("mdr-001", 1): block}, **{**ABLATION, "space": {}})
    assert outcome.problem is None
    assert outcome.report is not None
    assert outcome.report.page is None
    assert "notes.txt" in (outcome.report.problem or "")
    run_of = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(outcome.parent_run_id)
    assert run_of.info.status == "FINISHED"
    assert outcome.report.sentences[0] in run_of.data.tags["mlflow.note.content"].replace("\\", "")
