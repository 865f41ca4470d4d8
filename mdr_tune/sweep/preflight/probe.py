"""Report facts about one node: versions, environment, GPUs, files, clock and network.

This module is sent to the node and runs there, since the node may lack this package or have another version of it.
Therefore the module imports only the standard library, and nothing of this package.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = (
    "mdr_tune",
    "ray",
    "torch",
    "torchvision",
    "numpy",
    "optuna",
    "mlflow",
    "pyarrow",
    "pydantic",
    "pytorch-metric-learning",
)
READ_BY_COLLECTIVES = ("GLOO_", "NCCL_", "TORCH_NCCL_")
"""Prefixes of the environment variables that gloo, NCCL and torch read."""
BACKLOG = 4096
"""Number of connections that may wait at a probe's port. All nodes may connect at once, and none is accepted."""
GPU_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 5.0
LOOK_AT_GPUS = """
import json, torch
found = []
for number in range(torch.cuda.device_count()):
    with torch.cuda.device(number):
        free, total = torch.cuda.mem_get_info()
        a = torch.arange(65536, dtype=torch.float64).reshape(256, 256) % 7 - 3
        equal = torch.equal((a.cuda() @ a.cuda()).cpu(), a @ a)
        found.append({"name": torch.cuda.get_device_name(), "free": free, "total": total, "equal": equal})
print(json.dumps(found))
"""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect a trial's results and messages, by name.

    A package that is not installed has the version "none". `sources of mdr_tune` is the hash of its source files.
    """
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return {**found, "sources of mdr_tune": source_hash()}


def source_hash() -> str:
    """Return a hash of mdr_tune's source files, to compare copies of the same version; "none" if there are none."""
    spec = importlib.util.find_spec("mdr_tune")
    if spec is None or spec.origin is None:
        return "none"
    folder, digest = Path(spec.origin).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def gpus() -> dict[str, Any]:
    """Return a report on this node's GPUs, as torch sees them.

    torch runs in a process of its own with a time limit, since a faulty GPU may hang the process that uses it.

    Returns:
        Either `found` or `error`. `found` is a list with the `name` of each GPU, its memory in bytes (`free` and
        `total`), and whether it computed a matrix product correctly (`equal`). `error` is the reason why torch failed.
    """
    command = [sys.executable, "-c", LOOK_AT_GPUS]
    looking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = looking.communicate(timeout=GPU_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        looking.kill()  # without waiting: a process that hangs in the driver of a faulty GPU cannot be killed
        return {"error": f"no answer within {GPU_TIMEOUT_S:g} s"}
    if looking.returncode != 0:
        return {"error": " ".join(errors.strip().splitlines()[-1:])[:300] or f"exit code {looking.returncode}"}
    return {"found": json.loads(output)}


class Probe:
    """Actor that answers questions about the node on which it runs."""

    def __init__(self) -> None:
        self._listening: socket.socket | None = None

    def facts(self, look_at_gpus: bool) -> dict[str, Any]:
        """Return facts about the node; torch examines the GPUs only if `look_at_gpus`.

        Returns:
            These entries: `versions` and `gpus`, from the functions of these names; `environment`, the environment
            variables that gloo, NCCL and torch read; `name`, the host name; and `name_is`, the address that the host
            name resolves to, or "" if there is none.
        """
        name = socket.gethostname()
        try:
            name_is = socket.gethostbyname(name)
        except OSError:
            name_is = ""
        return {
            "versions": versions(),
            "environment": {key: value for key, value in os.environ.items() if key.startswith(READ_BY_COLLECTIVES)},
            "name": name,
            "name_is": name_is,
            "gpus": gpus() if look_at_gpus else {"found": []},
        }

    def clock(self) -> float:
        """Return the time on the node's clock, in seconds since 1970."""
        return time.time()

    def unreadable(self, paths: list[str]) -> list[str]:
        """Return those of the given `paths` that do not exist on the node or may not be read."""
        return [path for path in paths if not os.access(path, os.R_OK)]

    def content(self, file: str) -> str | None:
        """Return the text of `file`; None if the node cannot read it."""
        try:
            return Path(file).read_text()
        except OSError:
            return None

    def listen(self, address: str) -> int:
        """Open a port at the node's `address`, which stays open until the actor ends; return the port's number."""
        self._listening = socket.socket()
        self._listening.bind((address, 0))
        self._listening.listen(BACKLOG)
        return int(self._listening.getsockname()[1])

    def unreachable(self, others: list[tuple[str, int]]) -> list[str]:
        """Return the addresses among `others`, pairs of address and port, that this node cannot connect to."""
        found = []
        for address, port in others:
            try:
                socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S).close()
            except OSError:
                found.append(address)
        return found
