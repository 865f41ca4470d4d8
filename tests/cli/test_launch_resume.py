"""launch.py killed, interrupted and resumed, as a user does it; compared with an undisturbed launch."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cli import launch
from mdr_tune.records.journal import read_past
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.util.sqlite_address import sqlite_url
from tests.cli.run_command import on_shared_ray
from tests.waiting import HANG_S, wait_for

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
SWEEP = """
name: resumed
trial:
  batch: {size: 16, images_per_class: 4}
  embedding: {size: 8}
  epochs: 3
  iterations_per_epoch: 4
search: {trials: 4, scheduler: SCHEDULER}
space:
  mdr.weight: {loguniform: [0.01, 1]}
  loss.margin: {uniform: [0.1, 0.4]}
resources: {workers_per_trial: 1, lanes: 1}
"""
ASHA = "{name: asha, grace_epochs: 1, reduction_factor: 2}"
HYPERBAND = "{name: hyperband, reduction_factor: 2}"
PBT = "{name: pbt, quantile: 0.5}"


class Launches:
    """Launches of one sweep into one storage."""

    def __init__(self, folder: Path, scheduler: str) -> None:
        self.folder, self.storage = folder, folder / "runs"
        folder.mkdir()
        (folder / "sweep.yaml").write_text(SWEEP.replace("SCHEDULER", scheduler))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
        return subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def to_the_end(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=HANG_S)
        assert process.returncode == 0, output
        return output

    def until_epoch(self, number: int, how: int, *arguments: str) -> tuple[int, str, list[int]]:
        """Send a signal to the process group once so many epochs are in the journal, as a terminal does.

        Returns exit code, output and Ray's processes.
        """
        process = self.start(*arguments)

        def there() -> bool:
            assert process.poll() is None, process.communicate()[0]
            return self.epochs() >= number

        wait_for(there, f"epoch {number}", every_s=0.05)
        below = processes_below(process.pid)
        if how == signal.SIGTERM:
            process.send_signal(how)  # as `timeout` does, which sends it twice
        os.killpg(process.pid, how)
        output, _ = process.communicate(timeout=HANG_S)
        return process.returncode, output, below

    @property
    def launch(self) -> Path:
        (found,) = (self.storage / "sweeps" / "resumed").iterdir()
        return found

    def epochs(self) -> int:
        files = list(self.storage.glob("sweeps/*/*/journal.jsonl"))
        return sum(json.loads(line)["event"] == "epoch" for line in files[0].open()) if files else 0

    def records(self) -> list[TrialRecord]:
        return read_past(self.launch).records

    def numbers(self) -> list[tuple[Any, ...]]:
        """Return of each trial, in order of name, what does not depend on a clock."""
        found = []
        for record in sorted(self.records(), key=lambda record: record.name):
            epochs = [
                {key: value for key, value in epoch.items() if not key.startswith(("time/", "memory/"))}
                for epoch in record.history
            ]
            found.append((record.name, record.outcome, record.parameters, record.changes, epochs))
        return found

    def in_mlflow(self) -> dict[str, tuple[Any, ...]]:
        """Return of each run: status, outcome, and the steps and values of the metric."""
        from mlflow import MlflowClient

        client = MlflowClient(sqlite_url(self.storage / "mlflow.db"))
        experiment = client.get_experiment_by_name("resumed")
        found: dict[str, tuple[Any, ...]] = {}
        for run in client.search_runs([experiment.experiment_id], max_results=100):
            name = run.info.run_name if "mlflow.parentRunId" in run.data.tags else "sweep"
            assert run.info.artifact_uri.startswith(f"{(self.storage / 'mlartifacts').as_uri()}/")
            assert name not in found, f"{name} has two runs"
            history = client.get_metric_history(run.info.run_id, "val/recall_at_1")
            points = [(point.step, point.value) for point in history]
            found[name] = (run.info.status, run.data.tags.get("outcome"), points)
        return found


def processes_below(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    below, found = [pid], []
    while below:
        below = [child for child, parent in parents.items() if parent in below]
        found += below
    return found


def check_all_end(pids: list[int]) -> None:
    """Check that processes end, or are zombies that wait for init.

    Two small agents of Ray's look every half minute whether the node that they belong to is still there.
    """
    assert pids
    wait_for(lambda: not any(map(is_alive, pids)), "the end of Ray's processes")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def undisturbed(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Launches:
    launches = Launches(tmp_path_factory.mktemp("undisturbed") / "work", ASHA)
    with on_shared_ray(launches.folder):
        assert launch.main(["--space", "sweep.yaml"]) == 0
    return launches


def test_killed_interrupted_moved_and_resumed(
    tmp_path: Path, undisturbed: Launches, capsys: pytest.CaptureFixture[str]
) -> None:
    launches = Launches(tmp_path / "work", ASHA)
    code, output, left = launches.until_epoch(2, signal.SIGKILL, "--space", "sweep.yaml")
    assert code == -signal.SIGKILL
    assert output.endswith("Go on with it: python launch.py --resume resumed\n")

    code, output, below = launches.until_epoch(5, signal.SIGTERM, "--resume", "resumed")
    assert code == 1, output
    assert output.endswith("error: interrupted\n")
    assert "goes on after epoch" in output
    assert "stopping: " in output
    assert "Go on with it: python launch.py --resume resumed" in output
    statuses = {name: run[:2] for name, run in launches.in_mlflow().items()}
    assert statuses["sweep"] == ("KILLED", None)
    assert {status for status, _ in statuses.values()} <= {"KILLED", "FINISHED"}

    copy = shutil.copytree(launches.storage, tmp_path / "copy")
    launches.storage = launches.storage.rename(launches.folder / "else where?")
    here = ("--resume", "resumed", "--storage", "else where?")
    output = launches.to_the_end(*here)
    assert "the launch records the present place" in output
    assert launches.numbers() == undisturbed.numbers()
    assert launches.in_mlflow() == undisturbed.in_mlflow()
    assert sorted(path.name for path in launches.folder.iterdir()) == ["else where?", "sweep.yaml"]

    with on_shared_ray(launches.folder):
        assert launch.main(list(here)) == 2
    output = capsys.readouterr().err
    assert output == "error: --resume resumed: it is finished; --extend N adds N trials to each of its arms\n"

    database = sqlite_url(launches.storage / "mlflow.db")
    with on_shared_ray(launches.folder):
        of_copy = ["--resume", "resumed", "--storage", str(copy), "--tracking-uri", database, "--dry-run"]
        assert launch.main(of_copy) == 2
    output = capsys.readouterr().err
    assert f"another copy of it, in {launches.storage}, has gone on since in the MLflow store {database}" in output
    assert f"(--tracking-uri {sqlite_url(copy / 'mlflow.db')})" in output
    assert len(output.splitlines()) == 1

    check_all_end([*left, *below])


@pytest.mark.slow  # tests/sweep/test_stored_launches.py extends in one process
def test_extended(tmp_path: Path) -> None:
    launches = Launches(tmp_path / "work", ASHA)
    launches.to_the_end("--space", "sweep.yaml")
    before = launches.numbers()
    launches.to_the_end("--resume", "resumed", "--extend", "1")
    assert launches.numbers()[:-1] == before
    assert len(launches.numbers()) == 5
    assert launches.in_mlflow().keys() == {"sweep", *(f"mdr-00{number}" for number in range(1, 6))}


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", [HYPERBAND, PBT], ids=["hyperband", "pbt"])
@pytest.mark.parametrize("moment", [2, 5, 7])
def test_a_synchronous_search_is_killed_and_resumed(tmp_path: Path, scheduler: str, moment: int) -> None:
    whole, launches = Launches(tmp_path / "whole", scheduler), Launches(tmp_path / "cut", scheduler)
    whole.to_the_end("--space", "sweep.yaml")
    _, _, left = launches.until_epoch(moment, signal.SIGKILL, "--space", "sweep.yaml")
    launches.to_the_end("--resume", "resumed")
    assert launches.numbers() == whole.numbers()
    assert launches.in_mlflow() == whole.in_mlflow()
    check_all_end(left)


@pytest.mark.slow
def test_twice_at_once(tmp_path: Path) -> None:
    """The second Ctrl-C does not wait for anything; what was recorded is there."""
    launches = Launches(tmp_path / "work", ASHA)
    process = launches.start("--space", "sweep.yaml")
    while launches.epochs() < 1:
        assert process.poll() is None
        time.sleep(0.05)
    below = processes_below(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    while "stopping: " not in process.stdout.readline():  # two signals that come before Python has seen one are one
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    check_all_end(below)
    assert launches.records()[0].epochs >= 1
