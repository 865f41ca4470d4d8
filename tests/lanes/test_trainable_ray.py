"""A trial as Tune drives it, on a real lane: recorded epochs, checkpoints, take-overs, and what goes wrong."""

import dataclasses
import functools
import io
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint
from ray.tune.result import TRIAL_INFO

from mdr_tune.checkpoints.checkpoint_file import CHECKPOINT_FILE, INFO_FILE, read_checkpoint, read_info
from mdr_tune.lanes.hub import unwrap
from mdr_tune.lanes.messages import LaneLost
from mdr_tune.lanes.trainable import LaneTrial
from tests.lane_session import RESOURCES, own_lanes
from tests.lanes.test_lane_ray import TRIAL
from tests.waiting import HANG_S

pytestmark = pytest.mark.ray
HEAVIER = {**TRIAL, "mdr": {**TRIAL["mdr"], "weight": 0.4}}


class Tune:
    """Makes trials and gives them what Tune's controller gives them."""

    def __init__(self, hub: Any, storage: Path) -> None:
        self.hub, self.storage = hub, storage
        self._trials: list[LaneTrial] = []

    def trial(self, name: str, trial: dict[str, Any], *, launch: str = "first", **config: Any) -> LaneTrial:
        hub = self.hub

        class Bound(LaneTrial):
            def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
                super().setup(config, hub)

        storage = StorageContext(str(self.storage / launch), "mdr", trial_dir_name=name)
        self._trials.append(Bound(self.config(name, trial, **config), storage))
        return self._trials[-1]

    def config(
        self, name: str, trial: dict[str, Any], recorded: list[Any] | None = None, resume: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        info = SimpleNamespace(trial_id=name, trial_name=name, trial_resources=None)
        return {TRIAL_INFO: info, "trial": trial, "parameters": {}, "recorded": recorded or [], "resume": resume}

    def end(self) -> None:
        for trial in self._trials:
            trial.stop()


@pytest.fixture
def tune(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tune]:
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    ray.get(hub.take_news.remote())
    tune = Tune(hub, tmp_path)
    yield tune
    tune.end()


@pytest.fixture(scope="module")
def trained(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], list[Any]]:
    """The storage of a trial, the metrics of its three epochs, and its checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
        tune = Tune(hub, tmp_path_factory.mktemp("trained"))
        trial = tune.trial("mdr-001", TRIAL)
        epochs, saved = [], []
        for _ in range(TRIAL["epochs"]):
            epochs.append(metrics_of(trial.train()))
            saved.append(trial.save())
        assert trial._last_result["done"]
        trial.stop()
    return tune.storage, epochs, saved


@pytest.fixture
def undisturbed(tune: Tune, trained: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """The metrics of a trial's three epochs, and copies of its checkpoints, which a test may damage."""
    storage, epochs, saved = trained
    shutil.copytree(storage, tune.storage, dirs_exist_ok=True)
    places = [tune.storage / folder_of(result).relative_to(storage) for result in saved]
    return epochs, [
        type(result)(Checkpoint.from_directory(place), result.metrics)
        for result, place in zip(saved, places, strict=True)
    ]


def metrics_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared to the bit."""
    groups = ("train/", "val/", "mdr/")
    return {key: value for key, value in result.items() if key.startswith(groups) or key == "epoch"}


def folder_of(saved: Any) -> Path:
    return Path(saved.checkpoint.path)


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / CHECKPOINT_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / CHECKPOINT_FILE).write_bytes(data)


def assert_same_state(one: Path, other: Path) -> None:
    """Compare all tensors of two checkpoints; a file's bytes depend on which Python objects were shared."""
    states = [torch.load(io.BytesIO(read_checkpoint(folder)), weights_only=True) for folder in (one, other)]
    for part in ("model", "objective", "miner_generator"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    torch.testing.assert_close(states[0]["optimizer"]["state"], states[1]["optimizer"]["state"], rtol=0, atol=0)


class Blocked:
    """Holds the only lane, so that whoever needs it would wait for ever."""

    def __init__(self, hub: Any) -> None:
        self._hub = hub

    def __enter__(self) -> None:
        try:
            unwrap(ray.get(self._hub.lease.remote("blocker"), timeout=HANG_S))
        except BaseException:
            self.__exit__()  # a request that is not waited for any more would hold the lane for ever
            raise

    def __exit__(self, *_: object) -> None:
        ray.get(self._hub.release.remote("blocker"))


@pytest.mark.parametrize("resume_epoch", [2, 1, None])
def test_recorded_epochs_need_no_lane_and_the_next_has_the_same_bits(
    tune: Tune, undisturbed: Any, resume_epoch: int | None
) -> None:
    epochs, saved = undisturbed
    resume = None if resume_epoch is None else {"checkpoint": folder_of(saved[resume_epoch - 1]), "epoch": resume_epoch}
    trial = tune.trial("mdr-001", TRIAL, launch="second", recorded=epochs[:2], resume=resume)
    with Blocked(tune.hub):
        assert metrics_of(trial.train()) == epochs[0]
        marker = trial.save()
        assert [file.name for file in folder_of(marker).iterdir()] == [INFO_FILE]
        assert read_info(folder_of(marker)).epoch == 1
        trial.stop()  # paused; goes on in another actor
        trial = tune.trial("mdr-001", TRIAL, launch="second", recorded=epochs[:2], resume=resume)
        trial.restore(marker)
        assert metrics_of(trial.train()) == epochs[1]
        trial.save()
    last = trial.train()
    assert (metrics_of(last), last["done"], last.get("notes")) == (epochs[2], True, None)
    assert_same_state(folder_of(trial.save()), folder_of(saved[2]))


def test_a_trial_without_records_goes_on_after_the_epoch_of_its_checkpoint(tune: Tune, undisturbed: Any) -> None:
    epochs, saved = undisturbed
    trial = tune.trial("mdr-001", TRIAL, launch="second", resume={"checkpoint": str(folder_of(saved[1])), "epoch": 2})
    assert metrics_of(trial.train()) == epochs[2]


def test_a_trial_that_is_all_recorded_ends_without_a_lane(tune: Tune, undisturbed: Any) -> None:
    trial = tune.trial("mdr-001", TRIAL, launch="second", recorded=undisturbed[0])
    with Blocked(tune.hub):
        assert [trial.train()["done"] for _ in range(3)] == [False, False, True]


def test_a_damaged_checkpoint_costs_an_epoch_and_is_said(tune: Tune, undisturbed: Any) -> None:
    epochs, saved = undisturbed
    flip_a_bit(folder_of(saved[1]))
    trial = tune.trial("mdr-001", TRIAL)
    trial.restore(saved[1])
    result = trial.train()
    assert metrics_of(result) == epochs[2]
    assert result["notes"] == ["the checkpoint of epoch 2 is damaged (sha256 differs): went on from epoch 1"]


def test_a_checkpoint_that_is_gone_with_all_before_it_is_made_anew(tune: Tune, undisturbed: Any) -> None:
    epochs, saved = undisturbed
    for result in saved:
        for file in folder_of(result).iterdir():
            file.unlink()
    folder_of(saved[1]).rmdir()
    trial = tune.trial("mdr-001", TRIAL)
    trial.restore(saved[1])
    result = trial.train()
    assert metrics_of(result) == epochs[2]
    assert result["notes"] == [
        "the checkpoint of epoch 2 is damaged (checkpoint.json is missing): started from scratch"
    ]


def test_a_takeover_gives_the_same_bits_when_it_is_repeated_from_records(tune: Tune, undisturbed: Any) -> None:
    """mdr-002 takes over mdr-001's state after epoch 2, with another weight; then all is interrupted, and repeated."""
    epochs, saved = undisturbed
    other = tune.trial("mdr-002", {**TRIAL, "seed": 1})
    before = [metrics_of(other.train()) for _ in range(2)]
    own = other.save()
    other.reset(tune.config("mdr-002", HEAVIER), other._storage)
    other.restore(saved[1])
    expected = metrics_of(other.train())
    assert expected not in epochs
    other.stop()

    for known in (2, 1, 0):  # of mdr-001's checkpoints, which is the newest that is left
        resume = {"checkpoint": str(folder_of(saved[known - 1])), "epoch": known} if known else None
        source = tune.trial("mdr-001", TRIAL, launch=f"known {known}", recorded=epochs[:2], resume=resume)
        with Blocked(tune.hub):
            assert [metrics_of(source.train()) for _ in range(2)] == epochs[:2]
            marker = source.save()
        records = {"recorded": before, "resume": {"checkpoint": str(folder_of(own)), "epoch": 2}}
        again = tune.trial("mdr-002", {**TRIAL, "seed": 1}, launch=f"known {known}", **records)
        with Blocked(tune.hub):
            assert [metrics_of(again.train()) for _ in range(2)] == before
            again.save()
        again.reset(tune.config("mdr-002", HEAVIER, **records), again._storage)
        again.restore(marker)
        assert metrics_of(again.train()) == expected
        later = again.save()
        again.stop()
        if known == 2:  # damaged, it is made anew from mdr-001's state, not from mdr-002's own before the takeover
            flip_a_bit(folder_of(later))
            recovered = tune.trial("mdr-002", {**HEAVIER, "epochs": 4}, launch="known 2")
            recovered.restore(later)
            assert recovered.train()["notes"] == [
                "the checkpoint of epoch 3 is damaged (sha256 differs): went on from epoch 2"
            ]
            assert recovered._epoch == 4
            recovered.stop()


def test_records_go_on_after_a_takeover(tune: Tune, undisturbed: Any) -> None:
    """What follows the other trial's marker in this one's records is answered; then it trains from its own state."""
    epochs, saved = undisturbed
    source = tune.trial("mdr-001", {**TRIAL, "seed": 1}, launch="second", recorded=epochs[:1])
    source.train()
    marker = source.save()
    resume = {"checkpoint": str(folder_of(saved[1])), "epoch": 2}
    trial = tune.trial("mdr-002", TRIAL, launch="second", recorded=epochs[:2], resume=resume)
    with Blocked(tune.hub):
        trial.restore(marker)
        assert metrics_of(trial.train()) == epochs[1]
    assert metrics_of(trial.train()) == epochs[2]


def test_what_is_wrong_with_a_trial_is_a_result_and_can_be_saved(tune: Tune) -> None:
    diverging = tune.trial("mdr-003", {**TRIAL, "optimizer": {"learning_rate": 1e30}})
    result = diverging.train()
    assert (result["epoch"], result["done"], result["failure"]["kind"]) == (0, True, "diverged")
    assert "not finite in epoch 1" in result["failure"]["text"]
    assert "Traceback" not in result["failure"]["text"]
    failing = tune.trial("mdr-004", {**TRIAL, "embedding": {"size": 10**13}})
    ray.get(tune.hub.release.remote("mdr-003"))
    result = failing.train()
    assert (result["done"], result["failure"]["kind"]) == (True, "failed")
    assert "Traceback (most recent call last)" in result["failure"]["text"]
    ray.get(tune.hub.release.remote("mdr-004"))
    with Blocked(tune.hub):
        assert read_info(folder_of(failing.save())).epoch == 0
        assert read_info(folder_of(diverging.save())).name == "mdr-003"


def test_a_second_save_needs_no_lane(tune: Tune) -> None:
    trial = tune.trial("mdr-005", TRIAL)
    trial.train()
    first = trial.save()
    ray.get(tune.hub.release.remote("mdr-005"))
    with Blocked(tune.hub):
        second = trial.save()
    assert folder_of(first) != folder_of(second)
    assert read_checkpoint(folder_of(first)) == read_checkpoint(folder_of(second))


@pytest.mark.slow  # tests/faults does the same within a whole sweep
def test_a_lost_worker_is_noted_and_changes_no_number(tune: Tune) -> None:
    long_trial = {**TRIAL, "epochs": 2, "iterations_per_epoch": 300}
    undisturbed = tune.trial("mdr-006", long_trial)
    expected = [metrics_of(undisturbed.train()) for _ in range(2)]
    undisturbed.stop()
    trial = tune.trial("mdr-007", long_trial)
    assert metrics_of(trial.train()) == expected[0]
    trial.save()
    victim = ray.get(tune.hub.worker_pids.remote(0))[1]
    threading.Timer(0.5, os.kill, (victim, signal.SIGKILL)).start()
    result = trial.train()
    assert metrics_of(result) == expected[1]
    assert result["notes"] == ["the lane lost a worker in epoch 2: repeated from the checkpoint of epoch 1"]


def test_a_lane_that_is_not_held_any_more_is_leased_again(tune: Tune) -> None:
    trial = tune.trial("mdr-008", TRIAL)
    first = metrics_of(trial.train())
    ray.get(tune.hub.release.remote("mdr-008"))
    again = trial.train()
    assert again["notes"] == ["the lane is not held by mdr-008 in epoch 2: repeated from the start"]
    assert first["epoch"] + 1 == again["epoch"]


@pytest.mark.parametrize("small_disk", [8], indirect=True)
def test_a_full_disk_is_waited_for(hub: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    tune = Tune(hub, small_disk)
    try:
        trial = tune.trial("mdr-009", TRIAL)
        trial.train()
        old = trial.save()
        trial.train()
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(free - 4096))
        threading.Timer(1.0, ballast.unlink).start()
        start = time.monotonic()
        new = trial.save()
        assert time.monotonic() - start > 0.9
        assert [read_info(folder_of(saved)).epoch for saved in (old, new)] == [1, 2]
        assert read_checkpoint(folder_of(old)) != read_checkpoint(folder_of(new))
        folder = small_disk / "first" / "mdr"
        assert ray.get(hub.take_news.remote()) == [
            f"the disk is full: a checkpoint below {folder} cannot be written. Make room; the sweep waits 30 minutes",
            f"there is room again: a checkpoint below {folder} is written",
        ]
    finally:
        tune.end()


def test_a_lane_that_is_lost_again_and_again_is_an_error_of_the_machine(tune: Tune) -> None:
    trial = tune.trial("mdr-010", TRIAL)
    with pytest.raises(LaneLost, match="lost a worker 3 times in a row in epoch 1"):
        trial._on_lane("in epoch 1", lambda: (_ for _ in ()).throw(LaneLost("lost a worker")))


POISONING_ONCE, POISONING = {**TRIAL, "seed": 13}, {**TRIAL, "seed": 14}


def poison(folder: Path) -> None:
    """Have the GPU of a worker fail in the second epoch of some trials, the first or each time, and in all that follow
    in that process."""
    from mdr_tune.training import TrialSession

    original, is_poisoned = TrialSession.run_epoch, False

    def run_epoch(self: TrialSession) -> dict[str, float]:
        nonlocal is_poisoned
        first = folder / "poisoned"
        if self.epoch == 1 and (self.config.seed == 14 or (self.config.seed == 13 and not first.exists())):
            first.touch()
            is_poisoned = True
        if is_poisoned:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")
        return original(self)

    TrialSession.run_epoch = run_epoch  # type: ignore[method-assign]


def test_a_gpu_that_a_trial_makes_unusable_costs_the_worker_and_at_the_second_time_the_trial(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_worker = dataclasses.replace(RESOURCES, workers_per_lane=1, max_restarts=0)
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    with own_lanes(one_worker, "poisoned", tmp_path, functools.partial(poison, tmp_path)) as lanes:
        tune = Tune(lanes.hub, tmp_path)
        trial = tune.trial("once", POISONING_ONCE)
        results = [trial.train() for _ in range(3)]
        notes = [note for result in results for note in result.get("notes", ())]
        assert notes == [
            "the lane lost its GPU (CUDA error: device-side assert triggered) in epoch 2: repeated from the start"
        ]
        trial.stop()
        again = tune.trial("again", POISONING_ONCE)
        assert [metrics_of(again.train()) for _ in range(3)] == [metrics_of(result) for result in results]

        again.stop()
        trial = tune.trial("always", POISONING)
        trial.train()
        trial.save()
        failed = trial.train()
        assert failed["failure"]["kind"] == "failed"
        assert "device-side assert triggered" in failed["failure"]["text"]
        assert failed["notes"] == [
            "the lane lost its GPU (CUDA error: device-side assert triggered) in epoch 2: repeated from the checkpoint "
            "of epoch 1"
        ]
        trial.stop()
        good = tune.trial("good", TRIAL)
        assert [good.train()["epoch"] for _ in range(3)] == [1, 2, 3]
        assert ray.get(lanes.hub.times_up.remote(0)) == 4  # no restart of the lane counted as a loss
        good.stop()
