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
"""Seconds that a node may take to start a process and answer; long enough for a busy machine."""


class Nodes:
    """The probes on the nodes, one on each.

    Args:
        probes: Handles of the probes by the node's name; nodes that do not answer are removed from it.

    Attributes:
        problems: Problems of nodes that did not answer; such nodes are not asked again.
    """

    def __init__(self, probes: dict[str, Any]) -> None:
        self._probes = probes
        self.problems: list[Problem] = []

    @property
    def names(self) -> list[str]:
        """Names of the nodes that have answered every question so far; see `names_of`."""
        return list(self._probes)

    def ask(self, question: Callable[[str, Any], Any], timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Ask all nodes the same question side by side; returns the answers by the node's name.

        Args:
            question: Calls the probe of a node, and returns the reference of the answer; takes the node's name and the
                probe.
            timeout_s: Seconds that all answers together may take.
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
    """Return the name of each node by Ray's id: its address, with the end of the id if several nodes share an address.

    Args:
        nodes: Nodes by Ray's id.
    """
    addresses = Counter(node.address for node in nodes.values())
    return {
        node_id: node.address if addresses[node.address] == 1 else f"{node.address} ({node_id[-6:]})"
        for node_id, node in nodes.items()
    }


@contextlib.contextmanager
def probes_on(nodes: dict[str, Node], needs_gpus: bool) -> Iterator[Nodes]:
    """Start a probe on each node, yield the probes, and end them after the block.

    Args:
        nodes: Nodes by Ray's id.
        needs_gpus: Whether the probes must see the GPUs, although they reserve none from Ray.
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
