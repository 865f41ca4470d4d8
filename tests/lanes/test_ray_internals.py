import os
import signal
import threading
from pathlib import Path

import pytest
from ray._private import node, services

from mdr_tune.lanes import ray_internals
from mdr_tune.lanes.ray_internals import patient

NODE = "ab" * 28
"""An id as Ray gives a node."""


def test_a_node_that_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_internals, "POLL_S", 0.0)
    answers = iter([None, None, "the node"])

    def ask(address: str) -> str:
        answer = next(answers)
        if answer is None:
            raise RuntimeError("no node yet")
        return f"{answer} at {address}"

    assert patient(ask, lambda: True, "here") == "the node at here"


@pytest.mark.parametrize(("timeout_s", "lives"), [(180.0, False), (0.0, True)])
def test_a_node_that_cannot_come_is_not(monkeypatch: pytest.MonkeyPatch, timeout_s: float, lives: bool) -> None:
    monkeypatch.setattr(ray_internals, "NODE_TIMEOUT_S", timeout_s)
    monkeypatch.setattr(ray_internals, "POLL_S", 0.0)

    def ask() -> str:
        raise RuntimeError("no node yet")

    with pytest.raises(RuntimeError, match="no node yet"):
        patient(ask, lambda: lives)


def test_a_start_of_ray_that_fails_leaves_no_process() -> None:
    before = services.ConsolePopen, services.get_node
    started = []

    def start() -> None:
        with ray_internals.our_start_of_ray():
            started.append(services.ConsolePopen(["sleep", "600"]))
            assert os.getsid(started[0].pid) == started[0].pid
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        start()
    assert started[0].returncode == -signal.SIGKILL
    assert (services.ConsolePopen, services.get_node) == before


def test_the_port_of_ray_s_first_process_is_waited_for_while_other_threads_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_internals, "POLL_S", 0.01)
    before = node.wait_for_persisted_port
    write = threading.Timer(0.1, lambda: (tmp_path / f"gcs_server_port_{NODE}").write_text("4711"))
    with ray_internals.our_start_of_ray():
        write.start()  # in a thread, which Ray's own wait would keep from running
        assert node.wait_for_persisted_port(str(tmp_path), NODE, "gcs_server_port", timeout_ms=0) == 4711
    assert node.wait_for_persisted_port is before


def test_no_port_is_waited_for_once_ray_s_process_has_ended(tmp_path: Path) -> None:
    with ray_internals.our_start_of_ray():
        services.ConsolePopen(["true"]).wait()
        with pytest.raises(RuntimeError, match="Timed out waiting for file"):
            node.wait_for_persisted_port(str(tmp_path), NODE, "gcs_server_port", timeout_ms=0)
