"""Weights and images on every node that there is, prepared before a trial waits for them; the same on all of them."""

from collections.abc import Callable

import ray
from ray.exceptions import RayTaskError

from mdr_tune.errors import UserError
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.preflight.preparation import contents, prepare_here
from mdr_tune.sweep.preflight.problems import Problem

REMEDY = "bring it there, the same on all nodes (docs/cluster.md)"


def check_data(plan: Plan, node_ids: list[str], tell: Callable[[str], None]) -> list[Problem]:
    """Prepare the images on all nodes side by side, and compare them with the driver's.

    Args:
        plan: The launch, whose images are prepared here.
        node_ids: Ray's ids of the nodes.
        tell: Is told how many are ready.
    """
    here = contents(plan.sweep)
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    task = ray.remote(num_cpus=0, max_retries=0)(_prepare)
    waiting = {
        task.options(scheduling_strategy=affinity(node, soft=False)).remote(plan.sweep.model_dump_json()): node
        for node in node_ids
    }
    problems, done = [], 0
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=15)
        if not ready:
            tell(f"preflight: the images are prepared on {done} of {done + len(waiting)} nodes")
            continue
        node = waiting.pop(ready[0])
        done += 1
        try:
            address, problem, there = ray.get(ready[0])
        except RayTaskError as error:
            problems.append(Problem("data", node, " ".join(str(error.cause).split())[:300], REMEDY))
            continue
        if problem is not None:
            problems.append(Problem("data", address, problem, REMEDY))
        elif there != here:
            differ = ", ".join(name.split()[0] for name in here if here[name] != there.get(name))
            problems.append(Problem("data", address, f"the images or splits of {differ} are not those here", REMEDY))
    return problems


def _prepare(sweep: str) -> tuple[str, str | None, dict[str, str]]:
    """Prepare this node; returns its address, what is wrong, and the hashes of its data sets."""
    from mdr_tune.config.sweep import SweepConfig

    config = SweepConfig.model_validate_json(sweep)
    address = ray.util.get_node_ip_address()
    try:
        prepare_here(config, lambda text: None, lambda what, done, total: None)
        return address, None, contents(config)
    except UserError as error:
        return address, str(error), {}
