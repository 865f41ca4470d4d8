"""launch.py as a user types it, on this machine, everything real: Ray, lanes, Tune, Optuna, MLflow, the champion."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.as_a_user import LAUNCH, MDR_TUNE, run_python, write_pictures
from tests.waiting import HANG_S

pytestmark = pytest.mark.ray

SWEEP = """
name: e2e
trial:
  data: {name: folder, root: own, resize: 24, image_size: 20}
  backbone: {name: resnet18, weights: none}
  batch: {size: 8, images_per_class: 4}
  embedding: {size: 8}
  epochs: 3
  iterations_per_epoch: 3
search: {trials: 3, scheduler: {name: asha, grace_epochs: 1, reduction_factor: 3}}
space:
  embedding.size: {choice: [8, 10000000000000]} # the second does not fit into any memory
  mdr.weight: {loguniform: [0.01, 1]}
start_from:
  - {embedding.size: 8, mdr.weight: 0.1}
  - {embedding.size: 10000000000000, mdr.weight: 0.1}
  - {embedding.size: 8, mdr.weight: 0.5}
baselines: [triplet]
resources: {workers_per_trial: 2}
"""
ARGUMENTS = ("--space", "sweep.yaml", "--storage", "runs", "--set", "search.baseline_trials=1")
LOAD = """
import json, sys, mlflow, numpy, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model("models:/e2e@champion")
images = torch.from_numpy(numpy.random.default_rng(0).integers(0, 256, (5, 3, 20, 20), dtype=numpy.uint8))
print(json.dumps({"shape": list(model(images).shape), "mdr_tune": "mdr_tune" in sys.modules}))
"""


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """One launch on a folder of images; its folder and what it printed."""
    folder = tmp_path_factory.mktemp("e2e")
    (folder / "sweep.yaml").write_text(SWEEP)
    write_pictures(folder / "own")
    return folder, run_python(folder, LAUNCH, *ARGUMENTS)


def client_and_runs(folder: Path) -> tuple[Any, dict[str, Any]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("e2e")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    return client, {run.info.run_name: run for run in runs}


def test_it_ends_well_and_says_what_came_out(launched: Any) -> None:
    _, done = launched
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    for name in ("mdr-001", "mdr-003", "triplet-001"):
        assert any(name in line and "val Recall@1" in line for line in lines)
    assert any("mdr-002" in line and "FAILED" in line for line in lines)
    assert any("can't allocate memory" in line for line in lines)
    for part in (
        "Best on validation: ",
        "MDR over triplet: ",
        " On validation ",
        " test queries is ",
        "mlflow ui --host 127.0.0.1",
        "models:/e2e@champion",
    ):
        assert part in done.stdout


def test_the_images_are_read_once_as_it_is_told(launched: Any) -> None:
    folder, done = launched
    told = re.findall(r"^\[\d:\d\d\] (folder: .*)$", done.stdout, re.MULTILINE)
    assert told[0] == "folder: reading image files: 0 of 60"
    assert re.fullmatch(r"folder: decoding images \(cache of .* kB\): 60 of 60", told[-1])
    assert len(list((folder / "cache" / "images").glob("*.arrow"))) == 1


def test_the_launch_records_which_images_it_used(launched: Any) -> None:
    _, runs = client_and_runs(launched[0])
    parent = next(run for name, run in runs.items() if name.startswith("sweep "))
    parts = {key: value for key, value in parent.data.params.items() if key.startswith("images.")}
    assert sum(int(parts[f"images.{part}"].split()[0]) for part in ("train", "validation", "test")) == 60
    assert re.fullmatch("[0-9a-f]{20}", parts["images.content"])


def test_every_trial_has_its_run_below_the_parent(launched: Any) -> None:
    folder, _ = launched
    client, runs = client_and_runs(folder)
    parent = next(run for name, run in runs.items() if name.startswith("sweep "))
    assert {run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if run is not parent} == {
        parent.info.run_id
    }
    assert {name for name, run in runs.items() if run is not parent} == {"mdr-001", "mdr-002", "mdr-003", "triplet-001"}
    assert parent.info.status == "FINISHED"
    assert "Best on validation: " in parent.data.tags["mlflow.note.content"]
    run = runs["mdr-001"]
    assert run.data.params["mdr.weight"] == "0.1"
    assert run.data.params["mdr.levels"] == "[-3.0, 0.0, 3.0]"
    history = client.get_metric_history(run.info.run_id, "val/recall_at_1")
    assert [entry.step for entry in history] == [1, 2, 3]
    assert [entry.path for entry in client.list_artifacts(run.info.run_id, "checkpoints/best")]


def test_the_trial_that_raised_is_failed_with_its_traceback(launched: Any) -> None:
    folder, _ = launched
    client, runs = client_and_runs(folder)
    failed = runs["mdr-002"]
    assert failed.info.status == "FAILED"
    local = client.download_artifacts(failed.info.run_id, "traceback.txt")
    text = Path(local).read_text()
    assert "Traceback (most recent call last)" in text
    assert "can't allocate memory" in text


def test_the_best_epoch_and_the_test_metrics_are_recorded(launched: Any) -> None:
    folder, _ = launched
    client, runs = client_and_runs(folder)
    for run in (runs["triplet-001"], runs["mdr-003"], runs["mdr-001"]):
        values = [entry.value for entry in client.get_metric_history(run.info.run_id, "val/recall_at_1")]
        assert run.data.metrics["val/best_recall_at_1"] == max(values)
    tested = {name for name, run in runs.items() if "test/recall_at_1" in run.data.metrics}
    assert "triplet-001" in tested
    assert len(tested) == 2  # the best of each arm, no other
    assert {name for name, run in runs.items() if "test_split_read" in run.data.tags} == tested


@pytest.mark.slow
def test_a_trial_is_repeated_to_the_bit(launched: Any) -> None:
    folder, _ = launched
    client, runs = client_and_runs(folder)
    run_id = runs["mdr-001"].info.run_id
    done = run_python(
        folder, *MDR_TUNE, "rerun", "e2e", "mdr-001", "--tracking-uri", f"sqlite:///{folder}/runs/mlflow.db"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"mdr-001 (run {run_id}): 3 epochs again on 2 workers, cpu, seed 0"
    assert lines[-2].startswith("Equal to the bit: ")
    (again,) = client.search_runs([runs["mdr-001"].info.experiment_id], f"tags.rerun_of = '{run_id}'")
    assert (again.info.status, again.data.tags["rerun_equal"]) == ("FINISHED", "true")


def test_the_champion_embeds_images_in_a_fresh_process(launched: Any) -> None:
    folder, _ = launched
    done = subprocess.run(
        [sys.executable, "-c", LOAD, f"sqlite:///{folder}/runs/mlflow.db"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"shape": [5, 8], "mdr_tune": False}


def test_nothing_is_written_outside_of_the_storage(launched: Any) -> None:
    folder, _ = launched
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "own", "runs", "sweep.yaml"]
