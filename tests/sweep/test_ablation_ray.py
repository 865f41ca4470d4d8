"""An ablation on a real lane: all seeds of all configurations, all of them evaluated on the test classes."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from mlflow import MlflowClient

from mdr_tune.sweep.reporting import LaunchReport
from mdr_tune.tracking.details_files import read_details
from tests.faults.sweeps import in_mlflow, run, same_each_run

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
    runs = client.search_runs([client.get_experiment_by_name("faults").experiment_id], max_results=100)
    values = {
        run.info.run_name: {key: value for key, value in run.data.metrics.items() if key.startswith("test/")}
        for run in runs
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


def test_the_protocol_of_the_paper_chooses_the_epoch_on_the_test_classes(hub: Any, tmp_path: Path) -> None:
    trial = {"protocol": "paper", "metric": "curves/test_recall_at_1"}
    from tests.faults.sweeps import SWEEP

    changes = {**ABLATION, "trial": {**SWEEP["trial"], "protocol": trial["protocol"]}, "metric": trial["metric"]}
    outcome, _ = run(hub, tmp_path, **{**changes, "space": {}, "baselines": []})
    for record in outcome.result.records:
        best, epoch = record.best("curves/test_recall_at_1") or (0.0, 0)
        assert best == max(entry["curves/test_recall_at_1"] for entry in record.history)
        at_best = next(same_each_run(entry) for entry in record.history if entry["epoch"] == epoch)
        scores = outcome.result.tests[record.name]
        assert {key.replace("test/", "curves/test_"): value for key, value in scores.items()} == {
            key: value for key, value in at_best.items() if key.startswith("curves/test_")
        }
