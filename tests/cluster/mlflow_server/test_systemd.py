"""The unit under a real systemd, in namespaces of its own: hardening that lets it work, a crash, a reboot, the end."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import HANG_S, wait_for

NEEDED = ("unshare", "nsenter", "ip", "systemctl", "/lib/systemd/systemd")
PORT = 5000  # free: the network is the namespace's own
# Nothing of the machine's own is started or changed: its units' wishes are hidden, kernel settings cannot be written.
BOOT = """
set -e
echo $$ > {cgroup}/cgroup.procs
exec unshare --mount --pid --fork --uts --ipc --net --cgroup --mount-proc --kill-child bash -ec '
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mount --bind {units} /etc/systemd/system
for wishes in /lib/systemd/system/*.wants; do mount -t tmpfs none $wishes; done
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
ip link set lo up
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=docker /lib/systemd/systemd --unit=multi-user.target'
"""
CLIENT = """
import mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run() as run:
    mlflow.log_text("hello", "note.txt")
print(mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/note.txt"))
"""


def _cgroup_root() -> Path | None:
    """Return where the cgroups of version 2 are, None if they are not."""
    for folder in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (folder / "cgroup.procs").exists() and (folder / "cgroup.controllers").exists():
            return folder
    return None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make namespaces"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason="systemd, util-linux or iproute2 is not here"),
    pytest.mark.skipif(_cgroup_root() is None, reason="there are no cgroups of version 2"),
]


class Machine:
    """A machine run by systemd: this one's files, but a network, processes and units of its own."""

    def __init__(self, pid: int, home: Path) -> None:
        self._pid, self._home = pid, home

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command there; returns what it printed."""
        enter = ["nsenter", "-t", str(self._pid), "-m", "-p", "-u", "-i", "-n", "-C", *command]
        environment = {**os.environ, "HOME": str(self._home), "MLFLOW_DISABLE_TELEMETRY": "true"}
        done = subprocess.run(enter, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def server(self, action: str, check: bool = True) -> str:
        """Run an action of `mdr-tune mlflow-server`."""
        return self.run(sys.executable, "-m", "mdr_tune.cli.main", "mlflow-server", action, check=check)

    def is_answering(self) -> bool:
        """Whether the server runs and answers, as `status` says."""
        first = self.server("status", check=False).partition("\n")[0]
        return "process" in first and "does not answer" not in first


@contextmanager
def booted(home: Path, units: Path) -> Iterator[Machine]:
    """Start a machine with these units; ends without ceremony, as by a power cut."""
    root = _cgroup_root()
    assert root is not None
    cgroup = root / f"mdr_tune_test_{os.getpid()}"
    cgroup.mkdir()
    script = BOOT.format(cgroup=cgroup, units=units)
    unshare = subprocess.Popen(["bash", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        wait_for(lambda: _is_systemd(children.read_text().strip()))
        machine = Machine(int(children.read_text()), home)
        wait_for(lambda: "running" in machine.run("systemctl", "is-system-running", check=False))
        yield machine
    finally:
        unshare.send_signal(signal.SIGKILL)  # its child, the machine's first process, goes with it
        unshare.wait()
        wait_for(lambda: not any(f.read_text() for f in cgroup.rglob("cgroup.procs")))
        for folder in sorted(cgroup.rglob("*"), reverse=True):
            if folder.is_dir():
                folder.rmdir()
        cgroup.rmdir()


def _is_systemd(pid: str) -> bool:
    return bool(pid) and Path(f"/proc/{pid}/comm").read_text() == "systemd\n"


def test_it_is_a_unit_that_works_comes_back_and_goes(tmp_path: Path) -> None:
    home, units = tmp_path / "home", tmp_path / "units"
    home.mkdir()
    units.mkdir()
    with booted(home, units) as machine:
        assert "It comes back after a reboot" in machine.server("install")
        address = f"http://127.0.0.1:{PORT}"
        assert machine.run(sys.executable, "-c", CLIENT, address).splitlines()[-1] == "hello"
        status = machine.server("status")
        assert "systemd (unit mdr-tune-mlflow.service)" in status
        assert "runs already" in machine.server("install")

        pid = machine.run("systemctl", "show", "-P", "MainPID", "mdr-tune-mlflow").strip()
        machine.run("kill", "-9", pid)
        wait_for(lambda: machine.run("systemctl", "show", "-P", "NRestarts", "mdr-tune-mlflow").strip() == "1")
        wait_for(machine.is_answering)

    with booted(home, units) as machine:  # after the power cut
        wait_for(machine.is_answering)
        assert machine.run(sys.executable, "-c", CLIENT, address).splitlines()[-1] == "hello"
        assert "The MLflow server is gone" in machine.server("uninstall")
        assert "mlflow" not in machine.run("ps", "ax")
        assert "mdr-tune-mlflow" not in machine.run("systemctl", "list-unit-files")
    assert not [file for file in units.rglob("*") if file.is_file() or file.is_symlink()]
