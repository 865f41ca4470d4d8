"""Numbers and names as people read them."""

import pytest

from mdr_tune.report.ablation_table import Estimate, TableRow
from mdr_tune.report.output import texts


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.204, "+1.20"), (-0.346, f"{texts.MINUS}0.35"), (-0.001, "+0.00"), (0.0, "+0.00"), (12.0, "+12.00")],
)
def test_signed(value: float, expected: str) -> None:
    assert texts.signed(value) == expected


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (None, texts.NONE),
        (0.0, "< 0.001"),
        (0.0009, "< 0.001"),
        (0.001, "0.001"),
        (0.01234, "0.012"),
        (0.04996, "0.0500"),
        (0.0499, "0.0499"),
        (0.0501, "0.0501"),
        (0.2, "0.20"),
        (1.0, "1.00"),
    ],
)
def test_p_values(p: float | None, expected: str) -> None:
    assert texts.p_value(p) == expected


def test_intervals() -> None:
    assert texts.value(Estimate(70.0, 69.25, 70.75, 3)) == "70.00 ± 0.75"
    assert texts.value(Estimate(70.0, 68.0, 70.5, 400, over="queries")) == "70.00 [68.00, 70.50]"
    assert texts.value(Estimate(70.0, None, None, 1)) == "70.00"
    assert texts.value(None) == texts.NONE
    assert texts.interval(Estimate(0.2, -0.5, 0.9, 3)) == f"[{texts.MINUS}0.50, +0.90]"
    assert texts.interval(Estimate(0.2, None, None, 1)) == texts.NONE


def test_metrics_and_their_classes() -> None:
    metrics = ["test/recall_at_1", "test/map_at_r", "val/best_recall_at_1"]
    assert [texts.full_title(metric) for metric in metrics] == ["test Recall@1", "test MAP@R", "validation Recall@1"]
    assert texts.full_title("curves/best_test_recall_at_1") == "test Recall@1"
    assert texts.splits(metrics) == [("test", 2), ("validation", 1)]


def test_seeds_that_are_missing_are_counted_and_so_are_those_without_the_value() -> None:
    found = {"test/recall_at_1": Estimate(50.0, 49.0, 51.0, 2)}
    assert texts.seeds(TableRow("mdr-001", "triplet + MDR", "", {}, [0, 1], {}, found), "test/recall_at_1") == "2"
    failed = TableRow("mdr-001", "triplet + MDR", "", {}, [0, 1], {2: "failed"}, found)
    assert texts.seeds(failed, "test/recall_at_1") == "2 of 3"
    damaged = TableRow("mdr-001", "triplet + MDR", "", {}, [0, 1, 2], {}, found)  # a test value is missing
    assert texts.seeds(damaged, "test/recall_at_1") == "2 of 3"
    assert texts.seeds(damaged, "val/best_recall_at_1") == "0 of 3"
