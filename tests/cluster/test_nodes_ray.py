"""A cluster whose autoscaler starts nodes: what a launch plans, each lane on a node, and one node that is lost.

The autoscaler, Ray and the sweep are real; the nodes are raylets on this machine.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.records.journal import read_past
from mdr_tune.training import Ranks, TrialSession
from tests.cluster.fake_cloud import fake_cloud, kill_node, nodes_with
from tests.waiting import HANG_S, wait_for

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
NODE_TYPES: dict[str, Any] = {
    "cpu_worker": {"resources": {"CPU": 1}, "max_workers": 4},
    "gpu_worker": {"resources": {"CPU": 8, "GPU": 4, "accelerator_type:A10G": 1}, "max_workers": 1},
}
SWEEP = """
name: nodes
trial:
  batch: {size: 16, images_per_class: 4}
  embedding: {size: 8}
  epochs: 12
  iterations_per_epoch: 4
search: {sampler: random, trials: 3, scheduler: {name: none}}
space: {mdr.weight: {loguniform: [0.01, 1]}}
resources: {workers_per_trial: 1, lanes: 2, gpus_per_worker: 0}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="fc") as folder, fake_cloud(Path(folder), NODE_TYPES, 5) as environment:
        yield environment


def launch(environment: dict[str, str], folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    (folder / "sweep.yaml").write_text(SWEEP)
    command = [sys.executable, str(ROOT / "launch.py"), "--space", "sweep.yaml", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str]:
    process = launch(environment, folder, *arguments)
    output, _ = process.communicate(timeout=HANG_S)
    return process.returncode, output


def test_a_plan_counts_the_nodes_that_may_come(cluster: dict[str, str], tmp_path: Path) -> None:
    code, output = run(cluster, tmp_path, "--dry-run")
    assert code == 0, output
    assert "the cluster of 1 node" in output
    assert "1 CPU, 0 GPUs; may come: 4 cpu_worker (1 CPU each), 1 gpu_worker (8 CPUs, 4 GPUs each)" in output


def test_a_plan_that_can_never_fit_is_refused_at_once(cluster: dict[str, str], tmp_path: Path) -> None:
    too_many = ("--set", "resources.gpus_per_worker=1", "--set", "resources.cpus_per_worker=9")
    code, output = run(cluster, tmp_path, *too_many)
    assert code == 2
    assert (
        "resources.workers_per_trial: 1 worker with 9 CPUs and 1 GPU each do not fit on the cluster of 1 node" in output
    )
    assert "1 gpu_worker (8 CPUs, 4 GPUs each)" in output
    assert "Traceback" not in output
    assert not (tmp_path / "runs" / "sweeps").exists()


@pytest.mark.parametrize(
    ("lanes", "trials", "epochs"), [(2, 3, 12), pytest.param(4, 6, 16, marks=pytest.mark.slow)], ids=["two", "four"]
)
def test_each_lane_is_on_a_node_one_of_which_is_lost(
    cluster: dict[str, str], tmp_path: Path, glyph_cache: Path, lanes: int, trials: int, epochs: int
) -> None:
    changes = (f"resources.lanes={lanes}", f"search.trials={trials}", f"trial.epochs={epochs}")
    arguments = [word for change in changes for word in ("--set", change)]
    process = launch({**cluster, "MDR_TUNE_CACHE": str(glyph_cache)}, tmp_path, *arguments)
    try:
        lost = _lose_a_node(tmp_path, process, lanes)
        output, _ = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
    assert process.returncode == 0, output
    (folder,) = (tmp_path / "runs" / "sweeps" / "nodes").iterdir()
    records = read_past(folder).records
    assert [record.outcome for record in records] == ["completed"] * trials
    again = [record for record in records if any("lost a worker" in note for note in record.notes)]
    assert len(again) == 1, (lost, output)
    assert "repeated from the checkpoint of epoch" in again[0].notes[0]
    assert [without_times(epoch) for epoch in again[0].history] == epochs_alone(again[0].config)


def _lose_a_node(folder: Path, process: "subprocess.Popen[str]", lanes: int) -> str:
    """Wait until all lanes, each on a node, run a trial that has a checkpoint; then cut one node's power."""

    def all_lanes_train() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return running_trials_with_checkpoints(folder) == lanes

    wait_for(all_lanes_train, "a trial on each lane")
    nodes = nodes_with("ray::RayTrainWorker")
    assert len(nodes) == len(set(nodes)) == lanes
    lost = next(node for node in nodes if not node.endswith("00000"))  # the head's name
    kill_node(lost)
    return lost


def running_trials_with_checkpoints(folder: Path) -> int:
    folders = list(folder.glob("runs/sweeps/*/*"))
    records = read_past(folders[0]).records if folders else []
    return sum(record.outcome == "running" and bool(record.checkpoints) for record in records)


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if "/" in key and not key.startswith(("time/", "memory/"))}


def epochs_alone(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the trial gives without Ray, in this process."""
    trial = TrialConfig.model_validate(config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        session = TrialSession(trial, load_dataset(trial.data), Ranks())
        return [without_times(session.run_epoch()) for _ in range(trial.epochs)]
    finally:
        torch.set_num_threads(threads)
