"""What one node says of itself. Runs there, and is sent there whole: the node may lack this package, or have another
version of it. So nothing but the standard library is imported here, and nothing of this package.
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
"""How the names of the variables begin that gloo, NCCL and torch read."""
BACKLOG = 4096
"""All nodes may connect to one at once, and nobody accepts."""
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
    """Return the versions of Python and of what a trial's numbers and messages depend on; "none" if it is not there."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return {**found, "sources of mdr_tune": source_hash()}


def source_hash() -> str:
    """Return a hash of this package's sources as Python finds them, so that an edited copy shows; "none" without it."""
    spec = importlib.util.find_spec("mdr_tune")
    if spec is None or spec.origin is None:
        return "none"
    folder, digest = Path(spec.origin).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def gpus() -> dict[str, Any]:
    """Return what torch sees of this node's GPUs: `found`, a list, or why it sees nothing, `error`.

    In a process of its own with a time limit: a sick GPU hangs whoever asks for it.
    """
    command = [sys.executable, "-c", LOOK_AT_GPUS]
    looking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = looking.communicate(timeout=GPU_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        looking.kill()  # and not waited for: in the driver of a sick GPU a process cannot be killed
        return {"error": f"no answer within {GPU_TIMEOUT_S:g} s"}
    if looking.returncode != 0:
        return {"error": " ".join(errors.strip().splitlines()[-1:])[:300] or f"exit code {looking.returncode}"}
    return {"found": json.loads(output)}


class Probe:
    """An actor on a node, which answers for it."""

    def __init__(self) -> None:
        self._listening: socket.socket | None = None

    def facts(self, look_at_gpus: bool) -> dict[str, Any]:
        """Return versions, environment and name of the node, and what torch sees of its GPUs."""
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
        """Return the time here, in seconds since 1970."""
        return time.time()

    def unreadable(self, paths: list[str]) -> list[str]:
        """Return those files and folders that are not here, or may not be read."""
        return [path for path in paths if not os.access(path, os.R_OK)]

    def content(self, file: str) -> str | None:
        """Return what stands in a file; None if it is not here."""
        try:
            return Path(file).read_text()
        except OSError:
            return None

    def listen(self, address: str) -> int:
        """Open a port at an address of the node, until the actor ends; returns it."""
        self._listening = socket.socket()
        self._listening.bind((address, 0))
        self._listening.listen(BACKLOG)
        return int(self._listening.getsockname()[1])

    def unreachable(self, others: list[tuple[str, int]]) -> list[str]:
        """Return those addresses whose port this node cannot connect to."""
        found = []
        for address, port in others:
            try:
                socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S).close()
            except OSError:
                found.append(address)
        return found
