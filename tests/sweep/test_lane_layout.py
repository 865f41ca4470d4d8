"""How many lanes fit where."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cluster.machine import ComingNodes, Machine, Node, this_machine
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.sweep.lane_layout import TRIALS_PER_LANE, fit_lanes, placement_notes, with_workers, workers_note
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count


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
        ((16, 4), {"workers_per_trial": 1, "gpus_per_worker": 1.0}, 4, 1),
        ((16, 4), {"workers_per_trial": 1, "gpus_per_worker": 0.5}, 8, 0.5),
        ((16, 3), {"workers_per_trial": 1, "gpus_per_worker": 0.4}, 6, 0.4),  # not 7: a share is of one GPU
        ((16, 2), {"workers_per_trial": 1, "gpus_per_worker": 0.3333}, 6, 0.3333),
        ((64, 1), {"workers_per_trial": 1, "gpus_per_worker": 0.05}, 20, 0.05),
        ((6, 4), {"workers_per_trial": 1, "gpus_per_worker": 0.5}, 6, 0.5),
        ((16, 4), {"workers_per_trial": 2, "gpus_per_worker": 0}, 8, 0),
        ((2, 8), {"workers_per_trial": 1}, 2, 1),  # CPUs are what is short
        ((16, 4), {"workers_per_trial": 1, "lanes": 3}, 3, 1),
        ((16, 4), {"workers_per_trial": 1, "lanes": 4}, 4, 1),
    ],
)
def test_lanes_that_fit(
    machine: tuple[int, int], resources: dict[str, Any], lanes: int, gpus_per_worker: float
) -> None:
    found = fit(*machine, **resources)
    assert (found.num_lanes, found.gpus_per_worker) == (lanes, gpus_per_worker)
    assert found.workers_per_lane == resources["workers_per_trial"]
    assert found.cpus_per_worker == resources.get("cpus_per_worker", 1)


TWO_NODES = Machine(32, 8, "the cluster of 2 nodes", (Node(16, 4), Node(16, 4)))


@pytest.mark.parametrize(
    ("machine", "trials", "resources", "lanes", "workers"),
    [
        (Machine(1, 0, ""), 8, {}, 1, 1),
        (Machine(2, 0, ""), 8, {}, 1, 2),  # one after the other, so that the sampler learns from each
        (Machine(2, 0, ""), 40, {}, 2, 1),  # there are enough to learn from
        (Machine(8, 1, ""), 8, {}, 1, 1),
        (Machine(64, 8, ""), 8, {}, 2, 4),
        (Machine(64, 8, ""), 40, {}, 4, 2),
        (Machine(64, 0, ""), 8, {}, 2, 4),  # more have too few images of a batch of 128
        (TWO_NODES, 8, {}, 2, 4),
        (TWO_NODES, 8, {"placement": "spread"}, 2, 4),
        (TWO_NODES, 3, {}, 1, 4),  # within a node
        (Machine(3, 0, ""), 8, {}, 1, 3),
        (Machine(16, 0, ""), 8, {"lanes": 4}, 4, 4),
        (Machine(16, 0, ""), 8, {"lanes": 16}, 16, 1),
        (Machine(2, 8, ""), 8, {}, 1, 2),  # CPUs are what is short
        (Machine(64, 2, ""), 40, {"gpus_per_worker": 0.25}, 8, 1),  # workers of one trial do not share a GPU
        (Machine(64, 8, ""), 8, {"gpus_per_worker": 0, "cpus_per_worker": 16}, 1, 4),
    ],
)
def test_workers_auto(machine: Machine, trials: int, resources: dict[str, Any], lanes: int, workers: int) -> None:
    wanted = {"workers_per_trial": "auto", **resources}
    sweep = SweepConfig.model_validate({"name": "x", "search": {"trials": trials}, "resources": wanted})
    found = fit_lanes(sweep, machine)
    assert (found.num_lanes, found.workers_per_lane) == (lanes, workers)
    kept = with_workers(sweep, workers)
    assert fit_lanes(kept, machine) == found
    assert SweepConfig.model_validate(kept.model_dump(mode="json")).resources.workers_per_trial == workers


def test_an_ablation_has_workers_of_its_trials_once_all_of_them_run() -> None:
    tree = {
        "name": "x",
        "search": {"sampler": "grid", "scheduler": "none", "seeds": [0, 1, 2]},
        "space": {"mdr.weight": {"choice": [0.1, 0.2]}},
        "resources": {"workers_per_trial": "auto"},
    }
    sweep = SweepConfig.model_validate(tree)
    for gpus, lanes, workers in ((1, 1, 1), (6, 6, 1), (12, 6, 2), (64, 6, 4)):
        found = fit_lanes(sweep, Machine(64, gpus, ""))
        assert (found.num_lanes, found.workers_per_lane) == (lanes, workers)


def test_workers_auto_leaves_each_enough_of_the_smallest_batch() -> None:
    tree = {"name": "x", "space": {"batch.size": {"choice": [64, 256]}}, "resources": {"workers_per_trial": "auto"}}
    assert fit_lanes(SweepConfig.model_validate(tree), Machine(64, 8, "")).workers_per_lane == 2


def test_what_workers_auto_is_is_said() -> None:
    machine = Machine(64, 0, "this machine")
    tree = {"name": "x", "search": {"trials": 8}, "resources": {"workers_per_trial": "auto"}}
    sweep = SweepConfig.model_validate(tree)
    assert workers_note(sweep, fit_lanes(sweep, machine), machine) == [
        "resources.workers_per_trial: auto is 4 here, and stays so on --resume: there is room for 64 workers with 1 "
        "CPU, and the sweep uses 8: a worker has at least 32 images, or all of a smaller batch"
    ]
    assert workers_note(with_workers(sweep, 4), fit_lanes(sweep, machine), machine) == []


def test_workers_auto_that_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"1 worker with 1 CPU and 1 GPU each do not fit"):
        fit(2, 0, workers_per_trial="auto", gpus_per_worker=1)
    with pytest.raises(UserError, match=r"3 lanes of 1 worker do not fit on this machine .*: at most 2"):
        fit(2, 0, workers_per_trial="auto", lanes=3)


def test_a_sweep_that_goes_on_is_not_told_to_change_its_workers() -> None:
    with pytest.raises(UserError) as raised:
        fit_lanes(sweep_with(workers_per_trial=2), Machine(1, 0, "this machine"), keeps_workers=True)
    assert str(raised.value) == (
        "resources.workers_per_trial: 2 workers with 1 CPU each do not fit on this machine (1 CPU, 0 GPUs); go on "
        "where they fit, since another number of workers rounds differently, or launch it anew"
    )


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
            "resources.lanes: 3 lanes of 1 worker do not fit on this machine (16 CPUs, 2 GPUs): at most 2, or set it "
            "to auto",
        ),
        (
            (4, 0),
            {"workers_per_trial": 5},
            "resources.workers_per_trial: 5 workers with 1 CPU each do not fit on this machine (4 CPUs, 0 GPUs); "
            "set it to at most 4 (--set resources.workers_per_trial=4)",
        ),
        (
            (16, 4),
            {"workers_per_trial": 5, "cpus_per_worker": 2},
            "resources.workers_per_trial: 5 workers with 2 CPUs and 1 GPU each do not fit on this machine (16 CPUs, "
            "4 GPUs); set it to at most 4 (--set resources.workers_per_trial=4)",
        ),
        (
            (16, 1),
            {"workers_per_trial": 1, "gpus_per_worker": 0.5, "lanes": 3},
            "resources.lanes: 3 lanes of 1 worker do not fit on this machine (16 CPUs, 1 GPU): at most 2, or set it to "
            "auto",
        ),
        (
            (16, 0),
            {"workers_per_trial": 1, "gpus_per_worker": 0.5},
            "resources.workers_per_trial: 1 worker with 1 CPU and 0.5 GPU each do not fit on this machine (16 CPUs, "
            "0 GPUs); lower resources.cpus_per_worker or resources.gpus_per_worker",
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
    monkeypatch.setattr("mdr_tune.cluster.machine.GPU_DRIVERS", drivers)
    assert this_machine() == Machine(3, gpus, "this machine")


A_NODE = Node(48, 4, "A10G", "10.0.0.2")
HEAD = Node(8, 0, None, "10.0.0.1")


def of_nodes(*nodes: Node, coming: int = 0) -> Machine:
    kinds = (ComingNodes("gpu_worker", coming, dataclasses.replace(A_NODE, address="")),) if coming else ()
    possible = [*nodes, *(kind.node for kind in kinds for _ in range(kind.count))]
    cpus, gpus = sum(node.cpus for node in possible), sum(node.gpus for node in possible)
    return Machine(cpus, gpus, f"the cluster of {count(len(nodes), 'node')}", nodes, kinds)


def sweep_with(**resources: Any) -> SweepConfig:
    return SweepConfig.model_validate({"name": "x", "search": {"trials": 100}, "resources": resources})


def test_what_may_come_counts_as_if_it_were_there() -> None:
    empty = of_nodes(HEAD, coming=4)
    lanes = fit_lanes(sweep_with(workers_per_trial=8, lanes="auto"), empty)
    assert (lanes.num_lanes, lanes.gpus_per_worker) == (2, 1)  # 16 GPUs
    assert fit_lanes(sweep_with(workers_per_trial=8, lanes=2, placement="spread"), empty).placement == "spread"
    assert fit_lanes(sweep_with(workers_per_trial=4), of_nodes(HEAD, A_NODE, coming=3)).num_lanes == 4


def test_a_plan_that_can_never_fit_says_what_there_is_and_what_may_come() -> None:
    with pytest.raises(UserError) as error:
        fit_lanes(sweep_with(workers_per_trial=17), of_nodes(HEAD, coming=4))
    assert str(error.value) == (
        "resources.workers_per_trial: 17 workers with 1 CPU and 1 GPU each do not fit on the cluster of 1 node "
        "(8 CPUs, 0 GPUs; may come: 4 gpu_worker (48 CPUs, 4 GPUs each)); set it to at most 16 "
        "(--set resources.workers_per_trial=16) or raise max_workers in the cluster's file"
    )
    with pytest.raises(UserError, match=r"resources\.lanes: 5 lanes of 4 workers do not fit .*: at most 4"):
        fit_lanes(sweep_with(workers_per_trial=4, lanes=5), of_nodes(HEAD, coming=4))


def test_a_worker_is_not_split_between_nodes() -> None:
    small = Node(4, 1, "T4")
    with pytest.raises(UserError, match=r"lower resources\.cpus_per_worker or resources\.gpus_per_worker"):
        fit_lanes(sweep_with(workers_per_trial=1, cpus_per_worker=6, gpus_per_worker=1), of_nodes(HEAD, small, small))


def test_only_nodes_with_the_gpu_that_is_asked_for_count() -> None:
    mixed = of_nodes(HEAD, A_NODE, Node(16, 8, "T4"))
    assert fit_lanes(sweep_with(workers_per_trial=4, accelerator_type="A10G"), mixed).num_lanes == 1
    assert fit_lanes(sweep_with(workers_per_trial=4, accelerator_type="T4"), mixed).num_lanes == 2
    with pytest.raises(UserError) as error:
        fit_lanes(sweep_with(workers_per_trial=4, accelerator_type="H100"), mixed)
    assert str(error.value) == (
        "resources.accelerator_type: the cluster of 3 nodes has no H100, nor may one come; its GPUs are A10G, T4"
    )


@pytest.mark.parametrize(
    ("machine", "resources", "notes"),
    [
        (of_nodes(HEAD, A_NODE), {"workers_per_trial": 4}, []),
        (
            of_nodes(HEAD, A_NODE, coming=1),
            {"workers_per_trial": 4, "lanes": 2},
            [
                "the nodes that are there have room for 4 of 8 workers: the autoscaler will be asked for gpu_worker, "
                "which may take minutes, and trials begin on the lanes that are up"
            ],
        ),
        (
            of_nodes(HEAD, A_NODE, A_NODE),
            {"workers_per_trial": 8},
            [
                "no node has room for the 8 workers of a trial (at most 4): they are on several, and exchange "
                "gradients over the network"
            ],
        ),
        (of_nodes(HEAD, A_NODE, A_NODE), {"workers_per_trial": 8, "placement": "spread"}, []),
        (
            of_nodes(HEAD, A_NODE, Node(16, 4, "T4")),
            {"workers_per_trial": 2},
            [
                "the cluster has several kinds of GPUs (A10G, T4): a trial on both goes at the pace of the slower, and "
                "times are not comparable; choose one with resources.accelerator_type: A10G"
            ],
        ),
        (of_nodes(HEAD, A_NODE, Node(16, 4, "T4")), {"workers_per_trial": 2, "accelerator_type": "T4"}, []),
        (of_nodes(HEAD, A_NODE, Node(16, 4, "T4")), {"workers_per_trial": 2, "gpus_per_worker": 0}, []),
        (Machine(64, 8, "this machine"), {"workers_per_trial": 8}, []),
        (
            Machine(64, 1, "this machine"),
            {"workers_per_trial": 1, "gpus_per_worker": 0.3},
            [
                "resources.gpus_per_worker: 0.3 lets up to 3 trials compute on one GPU at a time: each is slower than "
                "alone, and nothing divides the GPU's memory"
            ],
        ),
    ],
)
def test_what_a_user_should_know_of_where_workers_are(
    machine: Machine, resources: dict[str, Any], notes: list[str]
) -> None:
    assert placement_notes(fit_lanes(sweep_with(**resources), machine), machine) == notes


def test_a_gpu_by_name_and_no_gpus_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="accelerator_type: names a GPU, but gpus_per_worker is 0"):
        sweep_with(accelerator_type="A10G", gpus_per_worker=0)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpus_per_worker": 2}, "2: a worker computes on one GPU, and more would idle: set it to 1, and give a trial"),
        ({"gpus_per_worker": 1.5}, "1.5: a worker computes on one GPU"),
        ({"gpus_per_worker": 0.7}, "0.7: no second worker fits on a GPU beside such a one"),
        ({"gpus_per_worker": 1 / 3}, "at most four digits after the point, such as 0.3333"),
        ({"gpus_per_worker": -0.5}, "expected auto, 0, 1 or a fraction of a GPU such as 0.5, got -0.5"),
        ({"gpus_per_worker": True}, "expected auto, 0, 1 or a fraction of a GPU such as 0.5, got True"),
        ({"gpus_per_worker": "half"}, "expected auto, 0, 1 or a fraction of a GPU such as 0.5, got 'half'"),
        (
            {"gpus_per_worker": 0.5, "workers_per_trial": 2},
            "gpus_per_worker: 0.5 is for trials of one worker, and workers_per_trial is 2: NCCL takes one worker",
        ),
    ],
)
def test_a_number_of_gpus_that_cannot_be_is_refused_with_the_reason(resources: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sweep_with(**resources)


def test_why_auto_is_one_worker_where_gpus_are_shared() -> None:
    machine = Machine(16, 2, "this machine")
    sweep = sweep_with(workers_per_trial="auto", gpus_per_worker=0.5)
    assert workers_note(sweep, fit_lanes(sweep, machine), machine) == [
        "resources.workers_per_trial: auto is 1 here, and stays so on --resume: workers of one trial do not share a GPU"
    ]


@pytest.mark.parametrize("gpus", [1, 0.5])
def test_ray_is_asked_for_what_was_decided(gpus: float, tmp_path: Path) -> None:
    from mdr_tune.lanes.lane_trainer import make_trainer

    scaling = make_trainer(None, 0, fit(4, 1, gpus_per_worker=gpus), "lane", tmp_path, None).scaling_config
    assert (scaling.use_gpu, scaling.resources_per_worker) == (True, {"CPU": 1, "GPU": gpus})


@pytest.mark.parametrize(
    ("machine", "resources", "workers"),
    [
        (Machine(48, 4, ""), {"workers_per_trial": 2}, 4),
        (Machine(48, 4, ""), {"workers_per_trial": 1, "lanes": 3}, 3),
        (of_nodes(HEAD, A_NODE, A_NODE), {"workers_per_trial": 8}, 4),  # 4 GPUs a node
        (of_nodes(HEAD, A_NODE, A_NODE), {"workers_per_trial": 1, "lanes": 2}, 2),  # both may come to one node
        (of_nodes(HEAD, Node(16, 8, "T4"), coming=2), {"workers_per_trial": 4, "accelerator_type": "A10G"}, 4),
    ],
)
def test_how_many_workers_may_share_the_cpus_of_a_node(
    machine: Machine, resources: dict[str, Any], workers: int
) -> None:
    assert fit_lanes(sweep_with(**resources), machine).workers_on_a_node == workers
