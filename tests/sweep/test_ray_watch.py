"""Ray that is lost: noticed at once, and said."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mdr_tune.sweep.ray_watch import HEAD_GONE_AFTER_S, Head

LOSES_RAY = """
import os, signal, stat, sys, time
from pathlib import Path
from mdr_tune.util.last_word import last_word
from mdr_tune.sweep.ray_session import ray_session

os.umask(0o022)
with last_word(Path(sys.argv[0]), "go on with it"), ray_session(None, 1):
    import ray._private.worker
    processes = dict(ray._private.worker._global_node.live_processes())
    assert {os.getsid(process.pid) for process in processes.values()}.isdisjoint({os.getsid(0)})
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    for path, mode in ((session, 0o700), (Path.home() / ".ray" / "auth_token", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    os.kill(processes["gcs_server"].pid, signal.SIGKILL)
    time.sleep(600)
"""


@pytest.mark.ray
def test_ray_that_is_lost_ends_the_process_at_once(tmp_path: Path) -> None:
    (tmp_path / "loses_ray.py").write_text(LOSES_RAY)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "loses_ray.py")],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: Ray was lost: its process gcs_server has ended\ngo on with it\n"


def test_a_head_is_gone_after_a_while_without_an_answer() -> None:
    now = 0.0
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        head = Head(f"127.0.0.1:{port}", lambda: now)
        now = 1000.0
        assert head.gone() is None
    now += HEAD_GONE_AFTER_S - 1
    assert head.gone() is None
    now += 1
    assert f"the head of the cluster, 127.0.0.1:{port}, has not answered for 30 s" in (head.gone() or "")
    with socket.create_server(("127.0.0.1", port)):
        assert head.gone() is None
    now += 1
    assert head.gone() is None
