"""Lanes whose workers have a GPU each: after what goes wrong in a trial, the next one computes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.lanes.messages import LaneLost, TrialFailed
from tests.waiting import HANG_S

WORKERS = 2
TRIAL = {"batch": {"size": 24, "images_per_class": 4}, "embedding": {"size": 8}, "epochs": 2, "iterations_per_epoch": 3}
FAILING_RANKS = {101: (0,), 102: (1,), 103: (0, 1)}
"""Of the trials with these seeds."""

pytestmark = pytest.mark.gpu


def make_trials_fail() -> None:
    """Have some trials run out of memory in the middle of their backward; called in each worker."""
    from mdr_tune.training import TrialSession

    run_epoch: Callable[[TrialSession], dict[str, float]] = TrialSession.run_epoch

    def run_out_of_memory(session: TrialSession) -> dict[str, float]:
        rank, device = session.ranks.rank, session.ranks.device
        if rank in FAILING_RANKS.get(session.config.seed, ()):
            parameters = list(session.model.backbone.parameters())
            parameters[-rank].register_hook(lambda _: take_all_memory(device))  # each rank at another place
        return run_epoch(session)

    TrialSession.run_epoch = run_out_of_memory  # type: ignore[method-assign]


def take_all_memory(device: torch.device) -> None:
    if device.type == "cpu":
        raise torch.OutOfMemoryError("CPU out of memory")
    torch.empty(10**15, dtype=torch.uint8, device=device)


@pytest.fixture(scope="module")
def hub(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if device.type == "cuda" and torch.cuda.device_count() < WORKERS:
        pytest.skip("needs two GPUs")
    pytest.importorskip("ray", reason="needs ray, which is not installed here")
    from mdr_tune.lanes.lane import Lanes
    from mdr_tune.sweep.ray_session import ray_session

    with ray_session(None, num_cpus=WORKERS + 1):
        resources = LaneResources(
            num_lanes=1,
            workers_per_lane=WORKERS,
            cpus_per_worker=1,
            gpus_per_worker=int(device.type == "cuda"),
            max_restarts=100,
            stuck_worker_timeout_s=15.0,
            stalled_worker_timeout_s=60.0,
        )
        lanes = Lanes(resources, "gpus", tmp_path_factory.mktemp("lanes"), make_trials_fail)
        yield lanes.hub
        lanes.stop()


def run(hub: Any, name: str, during_epoch: Callable[[], None] = lambda: None, **changes: Any) -> dict[str, float]:
    """Run a trial of one epoch; returns its losses."""
    import ray

    from mdr_tune.lanes.hub import unwrap

    def send(kind: str, **payload: Any) -> Any:
        return unwrap(ray.get(hub.submit.remote(name, kind, payload), timeout=HANG_S))

    unwrap(ray.get(hub.lease.remote(name), timeout=HANG_S))
    try:
        send("start", trial=TrialConfig.from_keys({**TRIAL, **changes}).model_dump(), checkpoint=None)
        during_epoch()
        metrics = send("epoch")
        return {key: value for key, value in metrics.items() if key.startswith("train/")}
    finally:
        ray.get(hub.release.remote(name))


@pytest.fixture(scope="module")
def good(hub: Any) -> dict[str, float]:
    """What a trial computes that nothing disturbs."""
    return run(hub, "undisturbed")


@pytest.mark.parametrize("seed", FAILING_RANKS, ids=lambda seed: f"ranks {FAILING_RANKS[seed]}")
def test_a_trial_that_runs_out_of_memory_fails_alone(hub: Any, good: dict[str, float], seed: int) -> None:
    with pytest.raises(TrialFailed, match="OutOfMemoryError"):
        run(hub, f"failing {seed}", seed=seed)
    assert run(hub, f"after {seed}") == pytest.approx(good, rel=1e-2, abs=1e-2)


def test_a_killed_worker_costs_the_epoch(hub: Any, good: dict[str, float]) -> None:
    import ray

    pids = ray.get(hub.worker_pids.remote(0))

    def kill_soon() -> None:
        threading.Timer(2.0, os.kill, (pids[1], signal.SIGKILL)).start()

    with pytest.raises(LaneLost):
        run(hub, "killed", kill_soon, iterations_per_epoch=1_000_000)
    assert run(hub, "after it") == pytest.approx(good, rel=1e-2, abs=1e-2)
    assert set(ray.get(hub.worker_pids.remote(0)).values()).isdisjoint(pids.values())
