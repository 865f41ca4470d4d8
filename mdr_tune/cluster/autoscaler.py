"""Find the cluster's autoscaler, and the nodes that it may add or is starting. This works only on the head node."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mdr_tune.cluster.machine import LOOPBACK, ComingNodes, Node
from mdr_tune.lanes.ray_seams import HEAD_RESOURCE, MONITORS, autoscaler_report, autoscaler_status
from mdr_tune.util.words import count, duration

ACCELERATOR = "accelerator_type:"
"""Prefix of the name of a node's resource that gives the kind of GPU, as in `accelerator_type:A10G`."""


@dataclass(frozen=True)
class Autoscaler:
    """The autoscaler that runs on this head node. `is_v2` tells version 2 of Ray's autoscaler from version 1.

    `config` is the content of the cluster file that it was started with. `gcs_address` is the cluster's HOST:PORT.
    """

    config: dict[str, Any]
    gcs_address: str
    is_v2: bool

    @property
    def owned_addresses(self) -> list[str]:
        """Addresses of the user's own machines (provider `local`), which join after `ray up`; empty for a cloud."""
        provider = self.config.get("provider", {})
        return [str(provider["head_ip"]), *map(str, provider["worker_ips"])] if "worker_ips" in provider else []

    def coming(self, nodes: list[dict[str, Any]]) -> tuple[ComingNodes, ...]:
        """Return the nodes that the autoscaler may still add, one entry for each node type that has room for more.

        `nodes` are the nodes that are alive, as `ray.nodes()` describes them.
        """
        if self.owned_addresses:
            return ()  # their CPUs and GPUs are unknown until they join
        types: dict[str, dict[str, Any]] = self.config.get("available_node_types", {})
        workers = {name: kind for name, kind in types.items() if name != self.config.get("head_node_type")}
        running = Counter(self._type_of(node, workers) for node in nodes)
        left = int(self.config.get("max_workers", 2)) - sum(running[name] for name in workers)
        found = []
        for name, kind in workers.items():
            number = max(0, min(left, int(kind.get("max_workers", left)) - running[name]))
            if number:
                found.append(ComingNodes(name, number, node_of(kind.get("resources", {}))))
        return tuple(found)

    def _type_of(self, node: dict[str, Any], types: dict[str, dict[str, Any]]) -> str | None:
        """Return the type in `types` of a worker `node`, found by its label or else by its CPUs and GPUs; else None."""
        label = node.get("Labels", {}).get("ray.io/node-group")
        if label in types:
            return str(label)
        if HEAD_RESOURCE in node["Resources"]:
            return None
        has = node_of(node["Resources"])
        return next((name for name, kind in types.items() if _is_like(node_of(kind.get("resources", {})), has)), None)

    def activity(self) -> str:
        """Return words for the nodes that the autoscaler is starting or could not get; empty if there are none."""
        return self._activity_v2() if self.is_v2 else self._activity_v1()

    def _activity_v2(self) -> str:
        status = autoscaler_status(self.gcs_address)
        starting: Counter[str] = Counter()
        since = []
        for launch in status.pending_launches:
            starting[_kind(launch)] += launch.count
            since.append(launch.request_ts_s)
        starting.update(_kind(node) for node in status.pending_nodes)
        parts = []
        if starting:
            ago = f", first asked for {duration(time.time() - min(since))} ago" if since else ""
            parts.append(f"the autoscaler starts {_listed(starting)}{ago}")
        for failed in status.failed_launches[-1:]:
            why = " ".join((failed.details or "no reason given").split())[:200]
            parts.append(f"{_kind(failed)} could not be had ({why}), it tries again")
        return "; ".join(parts)

    def _activity_v1(self) -> str:
        report = autoscaler_report()
        starting = Counter({name: number for name, number in report.get("pending_launches", {}).items() if number})
        addresses = [str(node[0]) for node in report.get("pending_nodes", [])]
        parts = [f"the autoscaler starts {_listed(starting)}"] if starting else []
        return "; ".join([*parts, *([f"{', '.join(addresses)} is being set up"] if addresses else [])])


def _kind(what: Any) -> str:
    machine = f" ({what.instance_type_name})" if what.instance_type_name else ""
    return f"{what.ray_node_type_name}{machine}"


def _listed(numbers: "Counter[str]") -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items())


def _is_like(kind: Node, has: Node) -> bool:
    return (kind.cpus, kind.gpus) == (has.cpus, has.gpus)


def node_of(resources: dict[str, Any], address: str = "") -> Node:
    """Return the node at the IP `address` with Ray's `resources`, such as {"CPU": 8, "accelerator_type:A10G": 1}."""
    kinds = [key.removeprefix(ACCELERATOR) for key in resources if key.startswith(ACCELERATOR)]
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)), min(kinds, default=None), address)


def autoscaler_here(gcs_address: str) -> Autoscaler | None:
    """Return the autoscaler of the cluster at `gcs_address` (HOST:PORT).

    The function looks for the autoscaler's process, whose arguments have the address of the cluster and the path of the
    cluster file. None if there is no such process on this machine, or if the file cannot be read.
    """
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        arguments: list[str] = process.info["cmdline"] or []
        is_v2 = next((v2 for end, v2 in MONITORS.items() if any(one.endswith(end) for one in arguments)), None)
        if is_v2 is None or not _is_same(_value(arguments, "--gcs-address"), gcs_address):
            continue
        file = _value(arguments, "--autoscaling-config")
        if file is None:
            return None
        try:
            config = yaml.safe_load(Path(file).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return None
        return Autoscaler(config, gcs_address, is_v2) if isinstance(config, dict) else None
    return None


def _value(arguments: list[str], flag: str) -> str | None:
    return next((argument.partition("=")[2] for argument in arguments if argument.startswith(f"{flag}=")), None)


def _is_same(address: str | None, joined: str) -> bool:
    """Return whether two addresses HOST:PORT belong to the same cluster.

    `address` is an argument of the autoscaler's process, if it has one. `joined` is the address at which this process
    joined its cluster. If `joined` is a loopback address, only the ports are compared.
    """
    host, _, port = joined.rpartition(":")
    return address is not None and (address == joined or (host in LOOPBACK and address.rpartition(":")[2] == port))


def awaited(gcs_address: str, needs: str) -> str:
    """Return words for a message "still waiting: ..." about lanes: nodes that start, or else the free CPUs and GPUs.

    `gcs_address` is the address of the cluster. `needs` names the CPUs and GPUs that the workers of a lane need.
    """
    import ray

    autoscaler = autoscaler_here(gcs_address)
    activity = autoscaler.activity() if autoscaler is not None else ""
    if activity:
        return activity
    total, free = ray.cluster_resources(), ray.available_resources()
    parts = [f"{free.get(key, 0):g} of {count(int(total[key]), key)}" for key in ("CPU", "GPU") if total.get(key)]
    return f"a lane needs {needs}, free: {', '.join(parts)}" if parts else f"a lane needs {needs}"
