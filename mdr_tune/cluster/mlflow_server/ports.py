"""Whether a TCP port is free on this machine, and who has it if it is not."""

import errno
import os
import socket
from pathlib import Path

from mdr_tune.util.errors import UserError

_LISTENING = "0A"


def check_port(host: str, port: int) -> None:
    """Check that a server may listen there.

    Raises:
        UserError: Another process does, or the address is not this machine's; the text names the process if it can.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a connection may linger
        try:
            probe.bind((host, port))
            return
        except PermissionError:
            raise UserError(f"--port {port}: only root may listen below 1024; choose a higher one") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"--host {host}: cannot be listened on ({error.strerror})") from None
    raise UserError(
        f"--port {port}: is taken{_by_whom(port)}; end that process, or choose another port "
        "(and the same in MLFLOW_TRACKING_URI)"
    )


def _by_whom(port: int) -> str:
    pid = listening_pid(port)
    if pid is None:
        return " by a process of another user"
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return f" by process {pid} ({command[:80]})"


def listening_pid(port: int) -> int | None:
    """Return a process that listens on a TCP port, None if there is none or it may not be looked at."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) in inodes for link in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:  # another user's, or just gone
            continue
    return None


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                found.add(columns[9])
    return found
