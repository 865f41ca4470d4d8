"""Two histories, compared number by number."""

import math

import pytest

from mdr_tune.report.comparison import Difference, compare


def history(*epochs: dict[str, float]) -> list[dict[str, float]]:
    return [{"epoch": float(number), **epoch} for number, epoch in enumerate(epochs, 1)]


def test_equal_histories_are_equal_to_the_bit_whatever_time_and_memory_say() -> None:
    then = history({"val/a": 0.1, "train/b": 3.0, "time/epoch_s": 1.0}, {"val/a": 0.2, "memory/peak_gib": 1.0})
    now = history({"val/a": 0.1, "train/b": 3.0, "time/epoch_s": 9.0}, {"val/a": 0.2})
    result = compare(then, now)
    assert result.equal
    assert (result.epochs, result.values) == (2, 3)
    assert result.describe() == "Equal to the bit: 3 numbers over 2 epochs."


def test_the_last_bit_counts() -> None:
    value = 0.1
    after = math.nextafter(value, 1)
    result = compare(history({"val/a": value}), history({"val/a": after}))
    assert result.differences == (Difference("val/a", 1, after - value, 1, value, after),)
    assert not result.equal


def test_each_metric_has_its_first_and_its_largest_difference() -> None:
    then = history(*[{"a": 1.0, "b": 1.0, "c": 1.0}] * 3)
    now = history({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.5, "b": 1.25, "c": 1.0}, {"a": 1.25, "b": 3.0, "c": 1.0})
    result = compare(then, now)
    assert result.differences == (Difference("b", 2, 2.0, 3, 1.0, 3.0), Difference("a", 2, 0.5, 2, 1.0, 1.5))
    assert result.describe() == (
        "Different from epoch 2 on, the most in b: by 2 at epoch 3, of 9 numbers over 3 epochs."
    )


def test_a_number_that_one_of_them_lacks_is_a_difference() -> None:
    result = compare(history({"a": 1.0, "b": 2.0}), history({"a": 1.0, "c": 3.0}))
    assert [(d.metric, d.largest, d.then, d.now) for d in result.differences] == [
        ("b", math.inf, 2.0, None),
        ("c", math.inf, None, 3.0),
    ]
    assert "present in one of the two only" in result.describe()


def test_what_is_not_finite_is_no_number_as_a_store_does_not_keep_it() -> None:
    assert compare(history({"a": 1.0, "b": math.nan}), history({"a": 1.0})).equal
    assert compare(history({"a": 1.0, "b": math.inf}), history({"a": 1.0, "b": math.nan})).equal
    assert not compare(history({"a": 1.0}), history({"a": math.nan})).equal


def test_the_epochs_that_both_have_are_compared() -> None:
    result = compare(history({"a": 1.0}, {"a": 2.0}, {"a": 3.0}), history({"a": 1.0}, {"a": 2.0}))
    assert result.equal
    assert result.epochs == 2


@pytest.mark.parametrize("now", [[], history({"time/epoch_s": 1.0})])
def test_nothing_to_compare_is_not_equal(now: list[dict[str, float]]) -> None:
    result = compare(history({"time/epoch_s": 2.0}), now)
    assert not result.equal
    assert result.describe().startswith("Nothing to compare")
