"""The server under this package's own supervisor: for machines without systemd, such as containers."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

from mdr_tune.cluster.mlflow_server.environment import server_environment
from mdr_tune.cluster.mlflow_server.server_process import ProcessId
from mdr_tune.cluster.mlflow_server.settings import ServerSettings, log_file, server_folder
from mdr_tune.cluster.mlflow_server.state import ServiceState
from mdr_tune.cluster.mlflow_server.supervisor import SupervisorRecord, end_left_over_server, is_supervised

CRONTAB = "crontab"
_MARK = "# the MLflow server of mdr_tune"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 40.0
_POLL_S = 0.1


class DetachedService:
    """A supervisor process that is detached from the terminal, and a line in the user's crontab for a reboot."""

    description = "the supervisor of mdr_tune"

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    def start(self) -> str:
        """See `Service.start`."""
        folder = server_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log_file().open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mdr_tune.cluster.mlflow_server.supervisor"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=folder,
                env=server_environment(self._settings),
            )
        end = time.monotonic() + _START_TIMEOUT_S
        while not _is_run_by(process.pid) and process.poll() is None and time.monotonic() < end:
            time.sleep(_POLL_S)
        return _come_back_after_reboot()

    def stop(self) -> None:
        """See `Service.stop`."""
        _forget_reboot()
        record = SupervisorRecord.read()
        supervisor = ProcessId.of(record.pid) if record is not None and is_supervised() else None
        if supervisor is not None:
            os.kill(supervisor.pid, signal.SIGTERM)
            end = time.monotonic() + _STOP_TIMEOUT_S
            while supervisor.is_alive and time.monotonic() < end:
                time.sleep(_POLL_S)
            if supervisor.is_alive:
                os.kill(supervisor.pid, signal.SIGKILL)
        end_left_over_server()

    def state(self) -> ServiceState | None:
        """See `Service.state`."""
        record = SupervisorRecord.read()
        if record is None or not is_supervised():
            return None
        alive = record.server is not None and record.server.is_alive
        return ServiceState(record.server if alive else None, record.restarts)


def _is_run_by(pid: int) -> bool:
    record = SupervisorRecord.read()
    return record is not None and record.pid == pid and record.server is not None


def _come_back_after_reboot() -> str:
    if shutil.which(CRONTAB) is None:
        return "It will not come back after a reboot: here is neither systemd nor cron. Run the same command again then"
    interpreter = shlex.quote(sys.executable).replace("%", r"\%")
    log = shlex.quote(str(log_file())).replace("%", r"\%")
    line = f"@reboot {interpreter} -m mdr_tune.cluster.mlflow_server.supervisor >> {log} 2>&1 {_MARK}"
    _write_crontab([*_other_lines(), line])
    return "It comes back after a reboot by a line in your crontab, if cron runs here"


def _forget_reboot() -> None:
    if shutil.which(CRONTAB) is not None and (lines := _crontab()) != (kept := _without_ours(lines)):
        _write_crontab(kept)


def _other_lines() -> list[str]:
    return _without_ours(_crontab())


def _without_ours(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.endswith(_MARK)]


def _crontab() -> list[str]:
    """Return the lines of the user's crontab, none if there is no crontab."""
    listed = subprocess.run([CRONTAB, "-l"], capture_output=True, text=True, check=False)
    return listed.stdout.splitlines() if listed.returncode == 0 else []


def _write_crontab(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run([CRONTAB, "-"], input=text, text=True, check=True, capture_output=True)
