import os
import signal

import pytest
from ray._private import services

from mdr_tune.lanes import ray_internals
from mdr_tune.lanes.ray_internals import patient


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
