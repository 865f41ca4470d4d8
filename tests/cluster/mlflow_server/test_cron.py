"""A reboot without systemd: the line in the crontab, under a real cron, whose tables are out of everybody's way."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mdr_tune.cluster.mlflow_server.systemd import runs_systemd
from tests.cluster.mlflow_server.home import processes_of
from tests.waiting import HANG_S

SPOOL = Path("/var/spool/cron/crontabs")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make namespaces"),
    pytest.mark.skipif(not all(map(shutil.which, ("unshare", "cron", "crontab"))), reason="cron is not here"),
    pytest.mark.skipif(runs_systemd(), reason="where systemd runs, the server is its unit"),
]

# A power cut is the end of supervisor and server at once; cron runs @reboot lines when it starts for the first time.
SCRIPT = """
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs -o mode=1730,gid=$(stat -c %g {spool}) none {spool}
sed "s|^\\(root:[^:]*:0:0:[^:]*\\):[^:]*:|\\1:$HOME:|" /etc/passwd > $HOME/passwd
mount --bind $HOME/passwd /etc/passwd
server="{python} -m mdr_tune.cli.main mlflow-server"
echo "7 7 7 7 7 mine" | crontab -
$server install --port {port}
read -r supervisor group < <({python} -c '
import json, pathlib
record = json.loads((pathlib.Path.home() / "mdr_tune_mlflow/supervisor.json").read_text())
print(record["pid"], record["server"][0])')
kill -9 $supervisor -- -$group
echo "after the power cut: $($server status | head -n 1)"
cron -f & cron=$!
for second in $(seq 180); do sleep 1; if $server status > $HOME/status; then break; fi; done
echo "after the reboot: $(head -n 1 $HOME/status)"
$server uninstall
echo "crontab: $(crontab -l)"
kill $cron
"""


def test_cron_starts_it_after_a_reboot(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = SCRIPT.format(spool=SPOOL, python=sys.executable, port=port)
    environment = {**os.environ, "HOME": str(tmp_path)}
    command = ["unshare", "--mount", "bash", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "It comes back after a reboot by a line in your crontab" in lines[0]
    assert "after the power cut: running    no" in lines
    assert any(line.startswith("after the reboot: running    since") and line[-1].isdigit() for line in lines)
    assert lines[-1] == "crontab: 7 7 7 7 7 mine"
    assert processes_of(tmp_path) == []
