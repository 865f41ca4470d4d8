import pytest

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
