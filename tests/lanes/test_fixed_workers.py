"""Requests for nodes are left out where Ray was started by this process, and nowhere else. No Ray is needed."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray._private.worker
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy, ResizeDecision

from mdr_tune.lanes.fixed_workers import FixedWorkers
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.lanes.lane_trainer import make_trainer
from mdr_tune.lanes.ray_internals import owns_ray

STARTED_HERE = SimpleNamespace(is_head=lambda: True)
JOINED = SimpleNamespace(is_head=lambda: False)


@pytest.mark.parametrize(("node", "owns"), [(None, False), (JOINED, False), (STARTED_HERE, True)])
def test_a_process_owns_the_ray_that_it_started(node: Any, owns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    assert owns_ray() is owns


@pytest.mark.parametrize(("node", "policy"), [(JOINED, FixedScalingPolicy), (STARTED_HERE, FixedWorkers)])
def test_nodes_are_asked_for_where_there_may_be_some(
    node: Any, policy: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, Any] = {}
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    monkeypatch.setattr(TorchTrainer, "_initialize_and_run_controller", lambda self, **given: used.update(given))
    trainer = make_trainer(None, 0, LaneResources(1, 2, 1, 0, 1, 60), "lane", tmp_path, None)
    given = FixedScalingPolicy(trainer.scaling_config)
    trainer._initialize_and_run_controller(scaling_policy=given, other=1)
    assert type(used["scaling_policy"]) is policy
    assert used["scaling_policy"].scaling_config is trainer.scaling_config
    assert used["other"] == 1


def test_the_workers_are_those_asked_for_and_nothing_is_requested_or_cancelled() -> None:
    """A request, and its cancelling too, would start the process that is to be done without."""
    policy = FixedWorkers(ScalingConfig(num_workers=3, resources_per_worker={"CPU": 2}))
    policy.after_controller_start(None)
    assert policy.make_decision_for_non_running_worker_group() == ResizeDecision(3, {"CPU": 2})
    asyncio.run(policy.before_controller_shutdown())
    policy.before_controller_abort()
    assert policy._coordinator_client is None
