"""A Ray head with the real autoscaler and Ray's fake cloud, whose nodes are raylets on this machine."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.waiting import HANG_S

HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""The name that Ray's fake cloud has for its head."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
"""By its class: Ray's own name for it needs a file that is not in Ray's wheels."""
MARK = "MDR_TUNE_TEST_CLUSTER"
RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def processes_with(mark: str) -> list[int]:
    """Return the processes that were started with this value of MARK in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}\0".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def processes_of(node_id: str) -> list[int]:
    """Return the processes of a node of the fake cloud: its raylet and all that it started."""
    return [pid for pid, node in _nodes_of_processes().items() if node == node_id]


def nodes_with(title: str) -> list[str]:
    """Return the node of each process that has this title, such as `ray::RayTrainWorker`."""
    nodes, found = _nodes_of_processes(), []
    for pid, node in nodes.items():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title.encode()):
                found.append(node)
    return found


def _nodes_of_processes() -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                for variable in (entry / "environ").read_bytes().split(b"\0"):
                    if variable.startswith(b"RAY_OVERRIDE_NODE_ID_FOR_TESTING="):
                        found[int(entry.name)] = variable.partition(b"=")[2].decode()
    return found


def kill_node(node_id: str) -> None:
    """SIGKILL all processes of a node: a power cut."""
    for pid in processes_of(node_id):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_all(mark: str) -> None:
    while left := processes_with(mark):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


@contextlib.contextmanager
def fake_cloud(
    folder: Path, node_types: dict[str, Any], max_workers: int, **variables: str
) -> Iterator[dict[str, str]]:
    """Start the head; yields the environment in which a driver joins it with RAY_ADDRESS.

    Args:
        folder: A short path that no other cluster uses.
        node_types: Of the workers, as a cluster file has them.
        max_workers: Of all types together.
        variables: Of the environment of all nodes.
    """
    from ray._private.services import get_node_ip_address

    file, port, mark = folder / "cluster.json", free_port(), uuid.uuid4().hex
    config = {
        "cluster_name": "fake",
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "gcs_address": f"{get_node_ip_address()}:{port}",
        },
        "max_workers": max_workers,
        "idle_timeout_minutes": 10,
        "upscaling_speed": 10,
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            **{name: {"node_config": {}, **kind} for name, kind in node_types.items()},
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }
    file.write_text(json.dumps(config))
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment = {
        **kept,
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex + uuid.uuid4().hex,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_enable_autoscaler_v2": "1",
        MARK: mark,
        **variables,
    }
    head_only = {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
    command = [RAY, "start", "--head", f"--port={port}", "--num-cpus=1", f"--autoscaling-config={file}"]
    command += [
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={free_port()}",
        f"--ray-client-server-port={free_port()}",
    ]
    try:
        done = subprocess.run(
            command, env={**environment, **head_only}, capture_output=True, text=True, timeout=HANG_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        address = (folder / "ray" / "ray_current_cluster").read_text().strip()
        yield {**environment, "RAY_ADDRESS": address}
    finally:
        end_all(mark)
