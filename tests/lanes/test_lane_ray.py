"""A real lane: Ray Train workers, DDP, and what becomes of trials that fail and of workers that are killed."""

import dataclasses
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import ray

from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.hub import unwrap
from mdr_tune.lanes.messages import LaneEnded, LaneLost, TrialFailed, TrialFailedDiverging
from mdr_tune.util.errors import UserError
from tests.lane_session import RESOURCES, own_lanes
from tests.waiting import HANG_S, wait_for

pytestmark = pytest.mark.ray

TRIAL = TrialConfig.model_validate(
    {
        "batch": {"size": 16, "images_per_class": 4},
        "embedding": {"size": 8},
        "epochs": 3,
        "iterations_per_epoch": 3,
    }
).model_dump()


class Holder:
    """Leases the lane for one trial and sends commands, as the trial's actor does."""

    def __init__(self, hub: Any, name: str) -> None:
        self.hub, self.name = hub, name

    def __enter__(self) -> "Holder":
        unwrap(ray.get(self.hub.lease.remote(self.name)))
        return self

    def __exit__(self, *_: object) -> None:
        ray.get(self.hub.release.remote(self.name))

    def lease_again(self) -> None:
        """After the lane was lost: waits for the new workers."""
        unwrap(ray.get(self.hub.lease.remote(self.name)))

    def __call__(self, kind: str, **payload: Any) -> Any:
        return unwrap(ray.get(self.hub.submit.remote(self.name, kind, payload), timeout=HANG_S))

    def epochs(self, count: int) -> list[dict[str, float]]:
        return [without_times(self("epoch")) for _ in range(count)]


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if not key.startswith(("time/", "memory/"))}


def test_a_trial_gives_the_same_bits_first_in_a_lane_and_after_another(hub: Any) -> None:
    with Holder(hub, "first") as lane:
        lane("start", trial=TRIAL, checkpoint=None)
        first = lane.epochs(2)
        saved = ray.get(lane("save"))
    with Holder(hub, "other") as lane:
        lane("start", trial={**TRIAL, "seed": 5, "mdr": None, "embedding": {"size": 4, "mode": "l2"}}, checkpoint=None)
        assert lane.epochs(1) != first[:1]
    with Holder(hub, "again") as lane:
        lane("start", trial=TRIAL, checkpoint=None)
        assert lane.epochs(2) == first
        assert ray.get(lane("save")) == saved


def test_a_trial_goes_on_from_a_checkpoint_with_the_same_bits(hub: Any) -> None:
    with Holder(hub, "undisturbed") as lane:
        lane("start", trial=TRIAL, checkpoint=None)
        expected = lane.epochs(3)
    with Holder(hub, "saved") as lane:
        lane("start", trial=TRIAL, checkpoint=None)
        lane.epochs(1)
        checkpoint = ray.put(ray.get(lane("save")))
        assert lane("start", trial=TRIAL, checkpoint=checkpoint) == 1
        assert lane.epochs(2) == expected[1:]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"optimizer": {"learning_rate": "high"}}, "Input should be a valid number"),
        ({"embedding": {"size": 10**13}}, "can't allocate memory"),
    ],
    ids=["bad learning rate type", "out of memory"],
)
def test_a_trial_that_raises_fails_with_its_traceback_and_the_lane_goes_on(
    hub: Any, changes: dict[str, Any], what: str
) -> None:
    pids = ray.get(hub.worker_pids.remote(0))
    with Holder(hub, "failing") as lane, pytest.raises(TrialFailed, match=what) as caught:  # noqa: PT012
        lane("start", trial={**TRIAL, **changes}, checkpoint=None)
        lane("epoch")
    assert "Traceback (most recent call last)" in str(caught.value)
    with Holder(hub, "next") as lane:
        lane("start", trial=TRIAL, checkpoint=None)
        assert lane.epochs(1)[0]["epoch"] == 1
    assert ray.get(hub.worker_pids.remote(0)) == pids  # the same processes


def test_of_a_trial_that_diverges_the_reason_arrives_and_the_lane_goes_on(hub: Any) -> None:
    with Holder(hub, "diverging") as lane:
        lane("start", trial={**TRIAL, "optimizer": {"learning_rate": 1e30}}, checkpoint=None)
        with pytest.raises(TrialFailedDiverging, match=r"^(an|the) .* is not finite in epoch 1, step [23]$"):
            lane("epoch")
        lane("start", trial=TRIAL, checkpoint=None)
        assert lane.epochs(1)[0]["device"] == "cpu"


def test_a_command_without_a_lease_is_refused(hub: Any) -> None:
    with pytest.raises(LaneLost, match="is not held by nobody"):
        unwrap(ray.get(hub.submit.remote("nobody", "epoch", {})))


def test_a_killed_worker_costs_the_epoch_but_not_the_trial(hub: Any) -> None:
    """SIGKILL one DDP worker in the middle of an epoch: the lane restarts, the trial's numbers are the same bits."""
    with Holder(hub, "undisturbed") as lane:
        lane("start", trial=TRIAL, checkpoint=None)
        expected = lane.epochs(2)
    long_trial = {**TRIAL, "iterations_per_epoch": 100_000}
    with Holder(hub, "killed") as lane:
        lane("start", trial=TRIAL, checkpoint=None)
        assert lane.epochs(1) == expected[:1]
        checkpoint = ray.put(ray.get(lane("save")))
        lane("start", trial=long_trial, checkpoint=None)
        before = ray.get(hub.worker_pids.remote(0))
        killer = threading.Timer(2.0, os.kill, (before[1], signal.SIGKILL))
        killer.start()
        with pytest.raises(LaneLost):
            lane("epoch")
        with pytest.raises(LaneLost, match="lost a worker"):  # it has none any more
            lane("start", trial=TRIAL, checkpoint=checkpoint)
        lane.lease_again()
        assert lane("start", trial=TRIAL, checkpoint=checkpoint) == 1
        assert lane.epochs(1) == expected[1:]
        assert set(ray.get(hub.worker_pids.remote(0)).values()).isdisjoint(before.values())
    assert_gone(before)


def assert_gone(pids: dict[int, int]) -> None:
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids.values()), "the end of the old workers")


@pytest.mark.slow  # tests/faults does the same within a whole sweep
@pytest.mark.parametrize("kind", ["start", "epoch"])
def test_a_lane_that_hangs_in_a_collective_is_restarted(hub: Any, kind: str) -> None:
    """SIGSTOP one DDP worker: the other waits for it in a collective that never ends."""
    ray.get(hub.take_news.remote())
    with Holder(hub, "hanging") as lane:
        lane("start", trial={**TRIAL, "iterations_per_epoch": 100_000}, checkpoint=None)
        before = ray.get(hub.worker_pids.remote(0))
        threading.Timer(2.0 if kind == "epoch" else 0.0, os.kill, (before[1], signal.SIGSTOP)).start()
        with pytest.raises(LaneLost, match="made no step for 60 s"):  # noqa: PT012
            if kind == "start":
                wait_for(lambda: is_stopped(before[1]), "the worker to be stopped")
                lane("start", trial=TRIAL, checkpoint=None)
            lane("epoch")
        lane.lease_again()
        assert lane("start", trial=TRIAL, checkpoint=None) == 0
        assert lane.epochs(1)[0]["epoch"] == 1
    assert_gone(before)
    assert [line.split(":")[0] for line in ray.get(hub.take_news.remote())] == [
        "the workers of a lane made no step for 60 s"
    ]


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.slow
def test_a_lane_that_cannot_start_says_so_at_once(hub: Any, tmp_path: Path) -> None:
    """What Ray Train gave up on reaches the trial: here a lane of workers without any resources."""
    without_cpus = dataclasses.replace(RESOURCES, workers_per_lane=1, cpus_per_worker=0)
    with own_lanes(without_cpus, "broken", tmp_path) as broken:
        with pytest.raises(LaneEnded, match=r"(?s)no lane is left.*Training failed.*Bundles cannot be an empty"):
            unwrap(ray.get(broken.hub.lease.remote("trial"), timeout=HANG_S))
        with pytest.raises(LaneEnded, match="no lane is left"):
            unwrap(ray.get(broken.hub.lease.remote("another"), timeout=HANG_S))


def test_a_lane_runs_no_process_that_it_has_no_use_for(hub: Any) -> None:
    import ray._private.state
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import _AutoscalingCoordinatorActor
    from ray.train.v2._internal.data_integration.dataset_manager import DatasetManager
    from ray.train.v2._internal.execution.preemption import PreemptionWatcher

    wait_for(lambda: ray.get(hub.ready_lanes.remote()) == 1)
    made = {actor["ActorClassName"] for actor in ray._private.state.actors().values()}  # or still starting, or ended
    assert {"TrainController", "LaneHub"} <= made
    not_wanted = (DatasetManager, PreemptionWatcher, _AutoscalingCoordinatorActor)
    assert not made & {actor.__name__ for actor in not_wanted}


def no_data() -> None:
    raise UserError("/data/products: Info_Files is missing; unpack the archive there")


def test_a_lane_whose_node_cannot_be_prepared_ends_with_the_reason_alone(hub: Any, tmp_path: Path) -> None:
    free = dataclasses.replace(RESOURCES, workers_per_lane=1, cpus_per_worker=1)
    with own_lanes(free, "unprepared", tmp_path, no_data) as lanes:
        reason = "/data/products: Info_Files is missing; unpack the archive there"
        with pytest.raises(LaneEnded) as ended:
            unwrap(ray.get(lanes.hub.lease.remote("trial"), timeout=HANG_S))
        assert str(ended.value) == f"no lane is left: {reason}"
        for thread in lanes.threads:
            thread.join(HANG_S)
            assert not thread.is_alive()
        assert ray.get(lanes.hub.take_news.remote()) == [f"lane 1 is given up: {reason}"]


def test_lanes_whose_workers_were_never_there_end_with_the_sweep(hub: Any, tmp_path: Path) -> None:
    """A thread that asks Ray something after Ray's end would end the process: none is left."""
    from mdr_tune.lanes.ray_seams import controllers

    wait_for(lambda: ray.get(hub.ready_lanes.remote()) == 1, 200)  # so that its controller is among those before
    before = controllers()
    too_large = dataclasses.replace(RESOURCES, num_lanes=2, cpus_per_worker=2)
    with own_lanes(too_large, "waiting", tmp_path) as waiting:
        wait_for(lambda: len(controllers() - before) == 2)
        assert ray.get(waiting.hub.lane_places.remote()) == [[], []]
    assert not [thread.name for thread in threading.enumerate() if thread in waiting.threads]
    assert before <= controllers()
