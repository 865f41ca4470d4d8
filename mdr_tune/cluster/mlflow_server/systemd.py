"""The server as a systemd service: a system unit where the user may make one, else a unit of the user's own."""

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mdr_tune.cluster.mlflow_server.server_process import ProcessId
from mdr_tune.cluster.mlflow_server.settings import log_file, server_folder
from mdr_tune.cluster.mlflow_server.state import ServiceState
from mdr_tune.util.errors import UserError

UNIT = "mdr-tune-mlflow.service"
RUNTIME = Path("/run/systemd/system")
"""Is there if systemd is the machine's first process."""
SYSTEM_UNITS = Path("/etc/systemd/system")
_BACKOFF_SINCE = 254
_COMMON = """\
[Service]
Type=exec
{user}ExecStart={command}
WorkingDirectory={folder}
Environment={home}
StandardOutput=append:{log}
StandardError=append:{log}
UMask=0077
Restart=always
RestartSec=2
{backoff}TimeoutStopSec=30
NoNewPrivileges=yes
"""
_HARDENING = """\
CapabilityBoundingSet=
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""


def runs_systemd() -> bool:
    """Say whether systemd runs this machine."""
    return RUNTIME.is_dir()


def unit_text(is_system_unit: bool, systemd_version: int) -> str:
    """Return the unit file of the server.

    Args:
        is_system_unit: Whether it belongs to the machine, else to the user's own service manager, which may not
            take rights away as the machine's can.
        systemd_version: Versions from 254 wait longer after each failed start; older ones always as long.
    """
    wants = "Wants=network-online.target\nAfter=network-online.target postgresql.service\n" if is_system_unit else ""
    service = _COMMON.format(
        user=f"User={_user()}\n" if is_system_unit else "",
        command=f"{_quoted(sys.executable).replace('$', '$$')} -m mdr_tune.cli.main mlflow-server run",
        folder=_specifiers_escaped(str(server_folder())),
        home=_quoted(f"HOME={Path.home()}"),
        log=_specifiers_escaped(str(log_file())),
        backoff="RestartSteps=5\nRestartMaxDelaySec=60\n" if systemd_version >= _BACKOFF_SINCE else "",
    )
    target = "multi-user.target" if is_system_unit else "default.target"
    return (
        f"[Unit]\nDescription=MLflow server of mdr_tune\n{wants}StartLimitIntervalSec=0\n\n"
        f"{service}{_HARDENING if is_system_unit else ''}\n[Install]\nWantedBy={target}\n"
    )


class SystemdService:
    """The server as a unit of systemd."""

    def __init__(self) -> None:
        self._is_root = os.geteuid() == 0
        self._is_system_unit = self._is_root or _succeeds(["sudo", "-n", "true"])

    @property
    def description(self) -> str:
        """See `Service.description`."""
        return f"systemd ({'' if self._is_system_unit else 'user '}unit {UNIT})"

    def start(self) -> str:
        """See `Service.start`."""
        self._check_owner()
        log_file().touch(mode=0o600)  # else systemd would make it root's
        if not self._is_system_unit:
            self._run(["loginctl", "enable-linger", _user()])
        self._write(unit_text(self._is_system_unit, _systemd_version()))
        self._systemctl("daemon-reload")
        self._systemctl("enable", UNIT)
        self._systemctl("restart", UNIT)
        return "It comes back after a reboot"

    def stop(self) -> None:
        """See `Service.stop`."""
        if not self._unit_file.exists():
            return
        self._check_owner()
        self._systemctl("disable", "--now", UNIT)
        self._run([*self._as_root, "rm", "-f", str(self._unit_file)])
        self._systemctl("daemon-reload")

    def state(self) -> ServiceState | None:
        """See `Service.state`."""
        if not self._unit_file.exists():
            return None
        shown = self._systemctl("show", UNIT, "--property=ActiveState,MainPID,NRestarts")
        values = dict(line.partition("=")[::2] for line in shown.splitlines())
        if values["ActiveState"] == "inactive":
            return None
        pid = int(values["MainPID"])
        return ServiceState(ProcessId.of(pid) if pid else None, int(values["NRestarts"]))

    @property
    def _unit_file(self) -> Path:
        user_units = Path.home() / ".config" / "systemd" / "user"
        return (SYSTEM_UNITS if self._is_system_unit else user_units) / UNIT

    @property
    def _as_root(self) -> list[str]:
        return ["sudo", "-n"] if self._is_system_unit and not self._is_root else []

    def _check_owner(self) -> None:
        """Refuse to replace or remove the server of another user."""
        if not self._is_system_unit or not self._unit_file.exists():
            return
        lines = self._unit_file.read_text(encoding="utf-8").splitlines()
        owner = next((line.removeprefix("User=") for line in lines if line.startswith("User=")), "root")
        if owner != _user():
            raise UserError(f"{self._unit_file}: is the MLflow server of {owner}; use theirs, or let them uninstall it")

    def _write(self, text: str) -> None:
        if not self._as_root:
            self._unit_file.parent.mkdir(parents=True, exist_ok=True)
            self._unit_file.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".service") as file:
            file.write(text)
            file.flush()
            self._run([*self._as_root, "install", "-m", "644", file.name, str(self._unit_file)])

    def _systemctl(self, *arguments: str) -> str:
        return self._run([*self._as_root, "systemctl", *([] if self._is_system_unit else ["--user"]), *arguments])

    def _run(self, command: Sequence[str]) -> str:
        environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}", **os.environ}  # missing in a login by ssh -T
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            reason = " ".join((done.stderr or done.stdout).split())
            raise UserError(
                f"the MLflow server cannot be made a systemd service: {' '.join(command)} failed ({reason}); run this "
                "as a user with sudo, or ask an administrator for `loginctl enable-linger`"
            )
        return done.stdout


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _systemd_version() -> int:
    """Return the version of systemd, 0 if it does not say."""
    done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _specifiers_escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Return a text as one word of a unit file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_specifiers_escaped(escaped)}"'
