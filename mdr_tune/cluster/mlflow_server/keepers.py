"""The keepers, which start `mdr-tune mlflow-server run` again whenever the server ends: systemd, or else supervisord.

supervisord is used where systemd does not run, or where the user may not use it.
"""

import contextlib
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from mdr_tune.cluster.mlflow_server.environment import MARK
from mdr_tune.cluster.mlflow_server.settings import log_file, server_folder
from mdr_tune.util.errors import UserError

UNIT = "mdr-tune-mlflow.service"
RUNTIME = Path("/run/systemd/system")
"""Folder that exists only if systemd is the machine's first process."""
SYSTEM_UNITS = Path("/etc/systemd/system")
_STOP_TIMEOUT_S = 40.0


@dataclass(frozen=True)
class KeeperState:
    """State of a server that a keeper runs. `restarts` counts how often the keeper has started the ended server again.

    `process` is the server's first process; None if the server does not run, for example just before a restart.
    """

    process: psutil.Process | None
    restarts: int


class Systemd:
    """Keeps the server running as a unit of the machine's systemd."""

    description = f"systemd (unit {UNIT})"

    def start(self) -> str:
        """Start the server and keep it running. Return a sentence for the user on what happens after a reboot.

        Raises:
            UserError: The keeper cannot be used, or it runs another user's server.
        """
        self._check_owner()
        log_file().touch(mode=0o600)  # else systemd would make it root's
        _as_root("install", "-m", "644", "/dev/stdin", str(SYSTEM_UNITS / UNIT), stdin=unit_text())
        _as_root("systemctl", "daemon-reload")
        _as_root("systemctl", "enable", UNIT)
        _as_root("systemctl", "restart", UNIT)
        return "It comes back after a reboot"

    def stop(self) -> None:
        """Stop the server, and do not start it again. Raise UserError if it belongs to another user."""
        if not (SYSTEM_UNITS / UNIT).exists():
            return
        self._check_owner()
        _as_root("systemctl", "disable", "--now", UNIT)
        _as_root("rm", "-f", str(SYSTEM_UNITS / UNIT))
        _as_root("systemctl", "daemon-reload")

    def state(self) -> KeeperState | None:
        """Return the state of the server; None if the keeper does not run it."""
        if not (SYSTEM_UNITS / UNIT).exists():
            return None
        shown = _run(["systemctl", "show", UNIT, "--property=ActiveState,MainPID,NRestarts"])
        values = dict(line.partition("=")[::2] for line in shown.splitlines())
        if values["ActiveState"] == "inactive":
            return None
        pid = int(values["MainPID"])
        process = psutil.Process(pid) if pid and psutil.pid_exists(pid) else None
        return KeeperState(process, int(values["NRestarts"]))

    def _check_owner(self) -> None:
        """Raise UserError if the server belongs to another user."""
        if (owner := _unit_owner()) not in (None, _user()):
            raise UserError(
                f"{SYSTEM_UNITS / UNIT}: is the MLflow server of {owner}; use theirs, or let them uninstall it"
            )


class Supervisord:
    """Keeps the server running by supervisord of the package supervisor, which needs no terminal and no root rights."""

    description = "supervisord"

    def start(self) -> str:
        """Start the server and keep it running. Return a sentence for the user on what happens after a reboot.

        Raise UserError if the package supervisor is not installed, or if supervisord does not start.
        """
        if find_spec("supervisor") is None:
            raise UserError(
                "the MLflow server cannot be kept running: here is no systemd (or no right to use it), and the package "
                f"supervisor is not installed; {sys.executable} -m pip install supervisor"
            )
        server_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        (server_folder() / "supervisord.log").unlink(missing_ok=True)
        _configuration().write_text(supervisord_text(), encoding="utf-8")
        _run(_supervisord_command())
        line = f"@reboot {shlex.join(_supervisord_command())}".replace("%", r"\%")
        return f"It does not come back after a reboot, unless you add this line to your crontab (crontab -e): {line}"

    def stop(self) -> None:
        """Stop the server and supervisord."""
        if (supervisord := _supervisord()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                supervisord.terminate()
                for process in psutil.wait_procs([supervisord], _STOP_TIMEOUT_S)[1]:
                    process.kill()
        end_left_over()
        _configuration().unlink(missing_ok=True)

    def state(self) -> KeeperState | None:
        """See `Systemd.state`."""
        if (supervisord := _supervisord()) is None:
            return None
        log = server_folder() / "supervisord.log"
        starts = log.read_text(errors="replace").count("spawned: 'mlflow'") if log.exists() else 0
        children = [child for child in supervisord.children() if child.status() != psutil.STATUS_ZOMBIE]
        return KeeperState(children[0] if children else None, max(0, starts - 1))


Keeper = Systemd | Supervisord


def make_keeper() -> Keeper:
    """Return the keeper for this machine: supervisord if it already runs the server, else systemd if possible."""
    if not RUNTIME.is_dir() or _supervisord() is not None:
        return Supervisord()
    return Systemd() if os.geteuid() == 0 or _unit_owner() == _user() or _may_sudo() else Supervisord()


def end_left_over() -> None:
    """Kill server processes that are left over without a supervisord, because they still use the server's port.

    Such processes are left if supervisord was killed, or if only the server's first process was killed.
    """
    left = [process for process in psutil.process_iter() if _is_of_the_server(process) and not _is_watched(process)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            process.kill()
    psutil.wait_procs(left)


def unit_text() -> str:
    """Return the text of the server's unit file for systemd."""
    return _template("mdr-tune-mlflow.service").format(
        user=_user(),
        python=_quoted(sys.executable).replace("$", "$$"),
        folder=str(server_folder()).replace("%", "%%"),
        home=_quoted(f"HOME={Path.home()}"),
        log=str(log_file()).replace("%", "%%"),
    )


def supervisord_text() -> str:
    """Return the text of the configuration file for supervisord."""
    run = shlex.join([sys.executable, "-m", "mdr_tune.cli.main", "mlflow-server", "run"])
    command = shlex.join(["sh", "-c", f"exec {run} >> {shlex.quote(str(log_file()))} 2>&1"])
    folder = str(server_folder()).replace("%", "%%")
    return _template("supervisord.conf").format(folder=folder, command=command.replace("%", "%%"))


def _template(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _configuration() -> Path:
    return server_folder() / "supervisord.conf"


def _supervisord_command() -> list[str]:
    return [sys.executable, "-m", "supervisor.supervisord", "-c", str(_configuration())]


def _supervisord() -> psutil.Process | None:
    """Return the process of the supervisord that runs the user's server; None if there is none."""
    found = [process for process in psutil.process_iter() if _is_supervisord(process)]
    return min(found, key=psutil.Process.create_time, default=None)  # the parent: supervisord may just be forking


def _is_supervisord(process: psutil.Process) -> bool:
    try:
        return bool(process.cmdline()[1:] == _supervisord_command()[1:])
    except psutil.Error:  # it belongs to another user, or has just ended
        return False


def _is_of_the_server(process: psutil.Process) -> bool:
    try:
        return bool(process.environ().get(MARK) == str(server_folder()))
    except psutil.Error:
        return False


def _is_watched(process: psutil.Process) -> bool:
    try:
        return any(map(_is_supervisord, process.parents()))
    except psutil.NoSuchProcess:
        return False


def _unit_owner() -> str | None:
    """Return the name of the user whose MLflow server is a systemd unit on this machine; None without such a unit."""
    unit = SYSTEM_UNITS / UNIT
    if not unit.exists():
        return None
    lines = unit.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("User=") for line in lines if line.startswith("User=")), "root")


def _may_sudo() -> bool:
    try:
        return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _as_root(*command: str, stdin: str = "") -> str:
    return _run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], stdin)


def _run(command: Sequence[str], stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"the MLflow server cannot be kept running: {' '.join(command)} failed ({reason})")
    return done.stdout


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _quoted(text: str) -> str:
    """Return `text` in quotes, so that systemd reads it as one word of a unit file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
