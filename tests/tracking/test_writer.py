"""The thread that writes: order, retries, what is lost, and that closing waits."""

import threading
import time
from collections.abc import Callable

import pytest

from mdr_tune.tracking.writer import OrderedWriter, TrackingLost
from tests.waiting import HANG_S


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdr_tune.tracking.writer.FIRST_RETRY_S", 0.001)


class Flaky:
    """A write that fails `failures` times and then notes its name."""

    def __init__(self, name: str, failures: float, done: list[str]) -> None:
        self.name, self.failures, self.done, self.tries = name, failures, done, 0

    def __call__(self) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise ConnectionError(f"{self.name} refused")
        self.done.append(self.name)


def noting(done: list[str], name: str) -> Callable[[], None]:
    return lambda: done.append(name)


def test_writes_happen_in_order_on_one_other_thread() -> None:
    done: list[tuple[int, int]] = []
    writer = OrderedWriter()
    for number in range(50):
        writer.put(str(number), lambda number=number: done.append((number, threading.get_ident())))
    writer.close()
    assert [number for number, _ in done] == list(range(50))
    assert len({thread for _, thread in done}) == 1
    assert threading.get_ident() not in {thread for _, thread in done}


def test_putting_does_not_wait_and_closing_does() -> None:
    done: list[str] = []
    gate = threading.Event()
    writer = OrderedWriter()
    writer.put("gate", lambda: (gate.wait(HANG_S), done.append("first"))[1])
    writer.put("second", noting(done, "second"))
    assert done == []
    threading.Timer(0.02, gate.set).start()
    writer.close()
    assert done == ["first", "second"]


def test_a_failing_write_is_tried_again_and_the_next_ones_wait_for_it() -> None:
    done: list[str] = []
    flaky = Flaky("flaky", 2, done)
    writer = OrderedWriter()
    writer.put("flaky", flaky)
    writer.put("next", noting(done, "next"))
    writer.close()
    assert flaky.tries == 3
    assert done == ["flaky", "next"]


def test_what_was_given_up_is_told_when_closing_and_the_rest_is_written() -> None:
    done: list[str] = []
    writer = OrderedWriter(give_up_after_s=0.01)
    writer.put("epoch 3 of mdr-001", Flaky("the store", float("inf"), done))
    writer.put("next", noting(done, "next"))
    with pytest.raises(
        TrackingLost,
        match=r"^1 writes to MLflow were lost: epoch 3 of mdr-001: ConnectionError: the store refused$",
    ):
        writer.close()
    assert done == ["next"]


def test_a_store_that_is_gone_costs_the_patience_once_until_it_answers_again() -> None:
    done: list[str] = []
    first, second, third = (Flaky(str(i), float("inf"), done) for i in range(3))
    writer = OrderedWriter(give_up_after_s=0.01)
    writer.put("first", first)
    writer.put("second", second)
    writer.put("back", noting(done, "back"))
    writer.put("third", third)
    with pytest.raises(TrackingLost, match=r"^3 writes"):
        writer.close()
    assert first.tries > 1
    assert second.tries == 1
    assert done == ["back"]
    assert third.tries > 1


def test_a_long_list_of_losses_is_cut_short() -> None:
    writer = OrderedWriter(give_up_after_s=0.0)
    for number in range(7):
        writer.put(f"write {number}", Flaky("x", float("inf"), []))
    with pytest.raises(TrackingLost) as lost:
        writer.close()
    assert str(lost.value).startswith("7 writes to MLflow were lost: write 0: ")
    assert "write 4" in str(lost.value)
    assert "write 5" not in str(lost.value)


def test_entries_that_wait_are_written_together_and_in_order() -> None:
    calls: list[tuple[str, list[int]]] = []
    gate = threading.Event()
    writer = OrderedWriter()
    writer.put("gate", lambda: (gate.wait(HANG_S), None)[1])
    for number in range(4):
        writer.put_entries("a", [number], lambda entries: calls.append(("a", entries)), "a")
        writer.put_entries("b", [10 + number], lambda entries: calls.append(("b", entries)), "b")
    writer.put("end of a", lambda: calls.append(("end of a", [])), "a")
    writer.put_entries("a", [4], lambda entries: calls.append(("a", entries)), "a")
    gate.set()
    writer.close()
    assert calls == [("a", [0, 1, 2, 3]), ("b", [10, 11, 12, 13]), ("end of a", []), ("a", [4])]


def test_entries_wait_for_more_until_somebody_waits_for_them() -> None:
    calls: list[list[int]] = []
    writer = OrderedWriter(gather_s=600)
    for number in range(3):
        writer.put_entries("a", [number], calls.append, "a")
        time.sleep(0.02)
    assert calls == []
    writer.wait()
    assert calls == [[0, 1, 2]]
    writer.put_entries("a", [3], calls.append, "a")
    writer.close()
    assert calls == [[0, 1, 2], [3]]


def test_entries_wait_for_more_until_the_next_write_of_their_key() -> None:
    calls: list[object] = []
    ended = threading.Event()
    writer = OrderedWriter(gather_s=600)
    writer.put_entries("a", [0], calls.append, "a")
    writer.put("end of a", ended.set, "a")
    assert ended.wait(HANG_S)
    assert calls == [[0]]
    writer.close()


def test_entries_that_nothing_follows_are_written_when_their_time_is_over() -> None:
    written = threading.Event()
    writer = OrderedWriter(gather_s=0.05)
    writer.put_entries("a", [0], lambda entries: written.set(), "a")
    assert written.wait(HANG_S)
    writer.close()


def test_one_call_takes_no_more_than_mlflow_does() -> None:
    sizes: list[int] = []
    gate = threading.Event()
    writer = OrderedWriter()
    writer.put("gate", lambda: (gate.wait(HANG_S), None)[1])
    for _ in range(5):
        writer.put_entries("a", [0] * 400, lambda entries: sizes.append(len(entries)), "a")
    gate.set()
    writer.close()
    assert sizes == [800, 800, 400]


def test_what_was_lost_is_told_once_and_forgotten_when_it_was_written_after_all() -> None:
    done: list[str] = []
    writer = OrderedWriter(give_up_after_s=0.0)
    writer.put("epoch 1 of a", Flaky("a", 1, done), "a")
    writer.put("epoch 1 of b", Flaky("b", 1, done), "b")
    writer.put("the rest of a", lambda: writer.recovered("a"), "a")
    with pytest.raises(TrackingLost, match=r"^1 writes to MLflow were lost: epoch 1 of b"):
        writer.wait()
    writer.wait()
    writer.close()
    assert done == []


def test_what_is_queued_after_the_end_is_written_too() -> None:
    done: list[str] = []
    writer = OrderedWriter()
    writer.put("one", noting(done, "one"))
    writer.close()
    writer.put("two", noting(done, "two"))
    writer.close()
    writer.close()
    assert done == ["one", "two"]
