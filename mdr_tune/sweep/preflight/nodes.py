"""Start a probe on each node of a cluster, and ask all probes side by side, with a time limit."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from mdr_tune.cluster.machine import Node
from mdr_tune.sweep.preflight import probe
from mdr_tune.sweep.preflight.problems import Problem

ANSWER_TIMEOUT_S = 180.0
"""Seconds within which a node must start a process and answer. A busy machine needs much of this time."""


class Nodes:
    """The probes that run on the nodes of a cluster; `probes` maps the name of each node to the handle of its probe.

    A node that does not answer becomes one of the `problems`, and is not asked again.
    """

    def __init__(self, probes: dict[str, Any]) -> None:
        self._probes = probes
        self.problems: list[Problem] = []

    @property
    def names(self) -> list[str]:
        """Names of the nodes that have answered every question so far, as `names_of` returns them."""
        return list(self._probes)

    def ask(self, question: Callable[[str, Any], Any], timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Ask all nodes the same question side by side; return the answers by the node's name.

        `question` takes a node's name and its probe; it calls the probe and returns Ray's reference to the answer.
        `timeout_s` is the time limit for all answers together, in seconds.
        """
        asked = {address: question(address, actor) for address, actor in self._probes.items()}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=timeout_s)
        answers = {}
        for address, reference in asked.items():
            try:
                answers[address] = ray.get(reference, timeout=0)
            except RayError as error:  # a GetTimeoutError too
                why = f"no answer within {timeout_s:g} s" if "timed out" in str(error).lower() else str(error)
                remedy = "look at its raylet.out and worker logs, or take it out of the cluster"
                self.problems.append(Problem("nodes", address, " ".join(why.split())[:300], remedy))
                del self._probes[address]
        return answers


def names_of(nodes: dict[str, Node]) -> dict[str, str]:
    """Return the name of each of `nodes`. The keys of both dictionaries are the nodes' ids in Ray.

    The name of a node is its address. If several nodes share an address, the end of the node's id is added.
    """
    addresses = Counter(node.address for node in nodes.values())
    return {
        node_id: node.address if addresses[node.address] == 1 else f"{node.address} ({node_id[-6:]})"
        for node_id, node in nodes.items()
    }


@contextlib.contextmanager
def probes_on(nodes: dict[str, Node], needs_gpus: bool) -> Iterator[Nodes]:
    """Start a probe on each of `nodes` (by the node's id in Ray), yield the probes, and end them after the block.

    If `needs_gpus`, the probes see the GPUs. Ray would otherwise hide the GPUs from them, since they reserve none.
    """
    ray.cloudpickle.register_pickle_by_value(probe)  # a node may lack this package, or have another version of it
    try:
        shows_gpus = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}} if needs_gpus else None
        actor = ray.remote(num_cpus=0, max_concurrency=2, runtime_env=shows_gpus)(probe.Probe)
        affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        started = {
            name: actor.options(scheduling_strategy=affinity(node_id, soft=False)).remote()
            for node_id, name in names_of(nodes).items()
        }
        try:
            yield Nodes(dict(started))
        finally:
            for probe_there in started.values():
                ray.kill(probe_there)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(probe)
