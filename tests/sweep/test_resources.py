"""How many lanes fit where."""

from pathlib import Path
from typing import Any

import pytest

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.lanes.resources import LaneResources
from mdr_tune.sweep.resources import TRIALS_PER_LANE, Machine, fit_lanes, this_machine


def fit(cpus: int, gpus: int, trials: int = 100, **resources: Any) -> LaneResources:
    sweep = SweepConfig.model_validate({"name": "x", "search": {"trials": trials}, "resources": resources})
    return fit_lanes(sweep, Machine(cpus, gpus, "this machine"))


@pytest.mark.parametrize(
    ("machine", "resources", "lanes", "gpus_per_worker"),
    [
        ((2, 0), {"workers_per_trial": 2}, 1, 0),
        ((16, 0), {"workers_per_trial": 2}, 8, 0),
        ((17, 0), {"workers_per_trial": 3}, 5, 0),
        ((16, 0), {"workers_per_trial": 2, "cpus_per_worker": 3}, 2, 0),
        ((16, 4), {"workers_per_trial": 2}, 2, 1),  # one GPU a worker where there are GPUs
        ((16, 4), {"workers_per_trial": 1, "gpus_per_worker": 2}, 2, 2),
        ((16, 4), {"workers_per_trial": 2, "gpus_per_worker": 0}, 8, 0),
        ((2, 8), {"workers_per_trial": 1}, 2, 1),  # CPUs are what is short
        ((16, 4), {"workers_per_trial": 1, "lanes": 3}, 3, 1),
        ((16, 4), {"workers_per_trial": 1, "lanes": 4}, 4, 1),
    ],
)
def test_lanes_that_fit(machine: tuple[int, int], resources: dict[str, Any], lanes: int, gpus_per_worker: int) -> None:
    found = fit(*machine, **resources)
    assert (found.num_lanes, found.gpus_per_worker) == (lanes, gpus_per_worker)
    assert found.workers_per_lane == resources["workers_per_trial"]
    assert found.cpus_per_worker == resources.get("cpus_per_worker", 1)


@pytest.mark.parametrize(("trials", "lanes"), [(1, 1), (7, 1), (8, 2), (12, 3), (1000, 16)])
def test_auto_leaves_the_sampler_rounds_to_learn_from(trials: int, lanes: int) -> None:
    assert TRIALS_PER_LANE == 4
    assert fit(16, 0, trials).num_lanes == lanes
    assert fit(16, 0, trials, lanes=16).num_lanes == 16  # who asks for more gets it


def test_what_is_passed_through() -> None:
    found = fit(4, 0, lane_restarts=3, stuck_worker_timeout_s=7.5)
    assert (found.max_restarts, found.stuck_worker_timeout_s) == (3, 7.5)


@pytest.mark.parametrize(
    ("machine", "resources", "message"),
    [
        (
            (4, 0),
            {"workers_per_trial": 2, "lanes": 3},
            "resources.lanes: 3 lanes of 2 workers do not fit on this machine (4 CPUs, 0 GPUs): at most 2, or set it "
            "to auto",
        ),
        (
            (16, 2),
            {"workers_per_trial": 1, "lanes": 3},
            "resources.lanes: 3 lanes of 1 workers do not fit on this machine (16 CPUs, 2 GPUs): at most 2, or set it "
            "to auto",
        ),
        (
            (4, 0),
            {"workers_per_trial": 5},
            "resources.workers_per_trial: 5 workers with 1 CPU each do not fit: this machine has 4 CPUs and 0 GPUs; "
            "set it to at most 4 (--set resources.workers_per_trial=4)",
        ),
        (
            (16, 4),
            {"workers_per_trial": 5, "cpus_per_worker": 2},
            "resources.workers_per_trial: 5 workers with 2 CPUs and 1 GPU each do not fit: this machine has 16 CPUs "
            "and 4 GPUs; set it to at most 4 (--set resources.workers_per_trial=4)",
        ),
        (
            (16, 1),
            {"workers_per_trial": 1, "gpus_per_worker": 2},
            "resources.workers_per_trial: 1 workers with 1 CPU and 2 GPUs each do not fit: this machine has 16 CPUs "
            "and 1 GPUs; lower resources.cpus_per_worker or resources.gpus_per_worker",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(
    machine: tuple[int, int], resources: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        fit(*machine, **resources)
    assert str(error.value) == message


@pytest.mark.parametrize(("driver", "gpus"), [(True, 2), (False, 0)])
def test_this_machine_counts_what_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: bool, gpus: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    drivers = [str(tmp_path if driver else tmp_path / "absent")]
    monkeypatch.setattr("mdr_tune.sweep.resources.GPU_DRIVERS", drivers)
    assert this_machine() == Machine(3, gpus, "this machine")
