"""What listens where: Ray's dashboard and client server, MLflow."""

from collections.abc import Iterator

from mdr_tune.cluster.checks.commands import Command, is_ray_start, setup_commands, start_commands
from mdr_tune.cluster.cluster_file import ClusterFile, Problem

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TUNNEL = "expected 127.0.0.1: whoever reaches it can run commands on all machines; `ray dashboard FILE` leads to it"


def check_head_start(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield how the head's Ray is started so that others can reach it, or without an autoscaler."""
    starts = [command for command in start_commands(cluster, "head") if is_ray_start(command)]
    if not any("--head" in start.words for start in starts):
        yield Problem(("head_start_ray_commands",), "nothing in it runs `ray start --head`")
    for start in starts:
        host = start.option("--dashboard-host")
        if host is not None and host not in _LOOPBACK:
            yield Problem(start.path, f"--dashboard-host={host}: {_TUNNEL}")
        yield from _client_port(start)
        if start.option("--autoscaling-config") is None:
            yield Problem(
                start.path, "--autoscaling-config=~/ray_bootstrap_config.yaml is missing: no worker would ever start"
            )


def check_worker_start(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield that workers would not join the head."""
    starts = [command for command in start_commands(cluster, "worker") if is_ray_start(command)]
    if not any("$RAY_HEAD_IP" in (start.option("--address") or "") for start in starts):
        yield Problem(("worker_start_ray_commands",), "nothing in it runs `ray start --address=$RAY_HEAD_IP:6379`")


def check_mlflow(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield an MLflow server that others than the head's users could reach, without a password."""
    for command in [*setup_commands(cluster, "head"), *start_commands(cluster, "head")]:
        if not (_serves_mlflow(command)):
            continue
        host = command.option("--host") or command.option("-h") or command.variables.get("MLFLOW_HOST", "127.0.0.1")
        if host not in _LOOPBACK:
            yield Problem(
                command.path, f"MLflow on {host}: expected 127.0.0.1, reached by a tunnel; see docs/mlflow_server.md"
            )


def _serves_mlflow(command: Command) -> bool:
    programs = (("mdr-tune", "mlflow-server"), ("mlflow", "server"), ("mlflow", "ui"))
    return any(command.runs(*program) for program in programs)


def _client_port(start: Command) -> Iterator[Problem]:
    port = start.option("--ray-client-server-port")
    first, last = start.option("--min-worker-port") or "10002", start.option("--max-worker-port") or "19999"
    numbers = (port or "", first, last)
    if all(number.isdigit() for number in numbers) and int(first) <= int(port or 0) <= int(last):
        yield Problem(
            start.path, f"--ray-client-server-port={port} is one of the workers' ports, {first} to {last}: take 10001"
        )
