"""What listens where: Ray's head, its dashboard and its client server."""

from collections.abc import Iterator

from mdr_tune.cluster.checks.commands import Command, is_ray_start, start_commands
from mdr_tune.cluster.cluster_file import ClusterFile, Problem
from mdr_tune.cluster.machine import LOOPBACK

_PORT = "6379"
_TUNNEL = "expected 127.0.0.1: whoever reaches it can run commands on all machines; `ray dashboard FILE` leads to it"


def check_head_start(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield how the head's Ray is started so that others can reach it, launch.py cannot, or without an autoscaler."""
    starts = [command for command in start_commands(cluster, "head") if is_ray_start(command)]
    if not any("--head" in start.words for start in starts):
        yield Problem(("head_start_ray_commands",), "nothing in it runs `ray start --head`")
    for start in starts:
        host = start.option("--dashboard-host")
        if host is not None and host not in LOOPBACK:
            yield Problem(start.path, f"--dashboard-host={host}: {_TUNNEL}")
        port = start.option("--port") or _PORT
        if "--head" in start.words and port != _PORT:
            yield Problem(
                start.path, f"--port={port}: expected {_PORT}, where clusters/setup_node.sh has launch.py look for Ray"
            )
        yield from _client_port(start)
        if start.option("--autoscaling-config") is None:
            yield Problem(
                start.path, "--autoscaling-config=~/ray_bootstrap_config.yaml is missing: no worker would ever start"
            )


def check_worker_start(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield that workers would not join the head."""
    starts = [command for command in start_commands(cluster, "worker") if is_ray_start(command)]
    joins = [start for start in starts if "$RAY_HEAD_IP" in (start.option("--address") or "")]
    if not joins:
        yield Problem(("worker_start_ray_commands",), f"nothing in it runs `ray start --address=$RAY_HEAD_IP:{_PORT}`")
    for start in joins:
        port = str(start.option("--address")).rpartition(":")[2]
        if port != _PORT:
            yield Problem(start.path, f"joins port {port}: expected {_PORT}, where the head is to listen")


def _client_port(start: Command) -> Iterator[Problem]:
    port = start.option("--ray-client-server-port")
    first, last = start.option("--min-worker-port") or "10002", start.option("--max-worker-port") or "19999"
    numbers = (port or "", first, last)
    if all(number.isdigit() for number in numbers) and int(first) <= int(port or 0) <= int(last):
        yield Problem(
            start.path, f"--ray-client-server-port={port} is one of the workers' ports, {first} to {last}: take 10001"
        )
