"""Faults in the middle of a sweep, with the real parts. After each: the same trials, each once, the same numbers."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from mdr_tune.checkpoints.checkpoint_file import CHECKPOINT_FILE
from mdr_tune.records.trial_record import TrialRecord
from tests.faults.sweeps import (
    in_mlflow,
    in_study,
    live_actors,
    numbers,
    placement_groups,
    run,
    trial_actor_pid,
)
from tests.mlflow_process import Server
from tests.waiting import wait_for

pytestmark = pytest.mark.ray


class Undisturbed:
    """What the sweep gives when nothing happens to it."""

    def __init__(self, hub: Any, storage: Path) -> None:
        self.outcome, _ = run(hub, storage)
        self.numbers, self.study = numbers(self.outcome), in_study(storage)
        self.mlflow = in_mlflow(f"sqlite:///{storage / 'mlflow.db'}")
        self.actors, self.groups = live_actors(), placement_groups()

    def check(self, hub: Any, outcome: Any, storage: Path, tracking_uri: str | None = None) -> None:
        """Check that a disturbed run ended with the same, and left nothing behind."""
        assert numbers(outcome) == self.numbers
        assert in_study(storage) == self.study
        found = in_mlflow(tracking_uri or f"sqlite:///{storage / 'mlflow.db'}")
        assert found.keys() == self.mlflow.keys()
        for name, here in self.mlflow.items():
            assert found[name] == here, name
        wait_for(lambda: ray.get(hub.ready_lanes.remote()) == 1 and live_actors() == self.actors, "the same actors")
        assert placement_groups() == self.groups
        assert ray.get(hub.ready_lanes.remote()) == 1


@pytest.fixture(scope="module")
def undisturbed(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(hub, tmp_path_factory.mktemp("undisturbed"))


def test_the_undisturbed_sweep_is_what_the_others_are_compared_with(undisturbed: Undisturbed) -> None:
    names = [entry[0] for entry in undisturbed.numbers]
    assert names == ["mdr-001", "mdr-002", "mdr-003", "test"]
    assert {entry[1] for entry in undisturbed.study} <= {"COMPLETE", "PRUNED"}
    assert undisturbed.mlflow["mdr-001"]["status"] == "FINISHED"
    assert [step for step, _ in undisturbed.mlflow["mdr-001"]["metrics"]["val/recall_at_1"]] == [1, 2, 3]


def test_a_worker_is_killed_in_the_middle_of_an_epoch(hub: Any, tmp_path: Path, undisturbed: Undisturbed) -> None:
    def kill(_: TrialRecord) -> None:
        os.kill(ray.get(hub.worker_pids.remote(0))[1], signal.SIGKILL)

    outcome, witness = run(hub, tmp_path, {("mdr-001", 1): kill})
    assert any("lost" in note for note in witness.notes)
    undisturbed.check(hub, outcome, tmp_path)


@pytest.mark.slow  # lanes/test_trainable_ray.py has a trial taken over
def test_a_trial_s_process_is_killed(hub: Any, tmp_path: Path, undisturbed: Undisturbed) -> None:
    outcome, witness = run(hub, tmp_path, {("mdr-001", 1): lambda _: os.kill(trial_actor_pid(), signal.SIGKILL)})
    assert any("its process was lost" in note for note in witness.notes)
    undisturbed.check(hub, outcome, tmp_path)


@pytest.mark.slow
def test_a_worker_hangs_in_a_collective(hub: Any, tmp_path: Path, undisturbed: Undisturbed) -> None:
    """One rank is stopped; the other waits for it in its next collective."""

    def hang(_: TrialRecord) -> None:
        os.kill(ray.get(hub.worker_pids.remote(0))[0], signal.SIGSTOP)

    outcome, witness = run(hub, tmp_path, {("mdr-001", 2): hang})
    assert any("lane" in note for note in witness.notes)
    undisturbed.check(hub, outcome, tmp_path)


@pytest.mark.slow
def test_the_newest_checkpoint_is_damaged_when_it_is_needed(hub: Any, tmp_path: Path, undisturbed: Undisturbed) -> None:
    def damage(record: TrialRecord) -> None:
        """Flip a bit of the newest checkpoint, and end the process that has it in memory."""
        file = Path(record.checkpoints[max(record.checkpoints)], CHECKPOINT_FILE)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        os.kill(trial_actor_pid(), signal.SIGKILL)

    outcome, witness = run(hub, tmp_path, {("mdr-001", 2): damage})
    assert any("is damaged (sha256 differs)" in note and "epoch 1" in note for note in witness.notes)
    undisturbed.check(hub, outcome, tmp_path)


@pytest.mark.parametrize("small_disk", [16], indirect=True)
def test_the_disk_is_full_while_a_checkpoint_is_written(
    hub: Any, tmp_path: Path, small_disk: Path, undisturbed: Undisturbed
) -> None:
    """Checkpoints, journal, study and MLflow's store are all on it; after a while somebody makes room."""
    seen: list[bool] = []

    def fill(record: TrialRecord) -> None:
        before = {path: path.read_bytes() for path in Path(record.checkpoints[1]).iterdir()}
        ballast = small_disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        except OSError:
            time.sleep(8)  # the epoch ends, and its checkpoint finds no room
            seen.append(before == {path: path.read_bytes() for path in Path(record.checkpoints[1]).iterdir()})
            seen.append(max(record.checkpoints) == 1)
        finally:
            ballast.unlink()

    outcome, witness = run(hub, small_disk, {("mdr-001", 1): fill})
    assert seen == [True, True]
    assert any("full" in stage for stage in witness.stages)
    undisturbed.check(hub, outcome, small_disk)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    running = Server(folder)
    running.start()
    yield running
    running.kill()
    shutil.rmtree(folder)


def test_the_mlflow_server_is_gone_in_the_middle(
    hub: Any, tmp_path: Path, server: Server, undisturbed: Undisturbed
) -> None:
    """It is killed during the first trial and comes back, on the same store, during the last."""
    gone: Callable[[TrialRecord], None] = lambda _: server.kill()  # noqa: E731
    back: Callable[[TrialRecord], None] = lambda _: server.start()  # noqa: E731
    outcome, _ = run(hub, tmp_path, {("mdr-001", 1): gone, ("mdr-003", 1): back}, tracking_uri=server.uri)
    assert outcome.problem is None
    undisturbed.check(hub, outcome, tmp_path, server.uri)
