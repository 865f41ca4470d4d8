"""Numbers and names as people read them."""

from dataclasses import replace

import pytest

from mdr_tune.report.names import full_title
from mdr_tune.report.output import texts
from mdr_tune.report.overview import overview
from mdr_tune.report.rows import Estimate, Row
from tests.report.make_evidence import make_evidence
from tests.report.plots.plain_table import made_trials, plain_table


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
    assert [full_title(metric) for metric in metrics] == ["test Recall@1", "test MAP@R", "validation Recall@1"]
    assert full_title("curves/best_test_recall_at_1") == "test Recall@1"
    assert texts.splits(metrics) == [("test", 2), ("validation", 1)]


def test_seeds_that_are_missing_are_counted_and_so_are_those_without_the_value() -> None:
    found = {"test/recall_at_1": Estimate(50.0, 49.0, 51.0, 2)}
    trials = made_trials("mdr-001", 3)
    assert texts.seeds(Row(trials[:2], "", trials[:2], estimates=found), "test/recall_at_1") == "2"
    failed = Row(trials, "", trials[:2], estimates=found)
    assert texts.seeds(failed, "test/recall_at_1") == "2 of 3"
    damaged = Row(trials, "", trials, estimates=found)  # a test value is missing
    assert texts.seeds(damaged, "test/recall_at_1") == "2 of 3"
    assert texts.seeds(damaged, "val/best_recall_at_1") == "0 of 3"


VALIDATION, PAPER = (
    "best epochs chosen on validation classes",
    "best epochs chosen on the test classes, as the authors do",
)


@pytest.mark.parametrize(("protocol", "said"), [("validation", VALIDATION), ("paper", PAPER)])
def test_the_captions_say_on_which_classes_epochs_were_chosen(protocol: str, said: str) -> None:
    table = replace(plain_table(make_evidence()), protocol=protocol)
    assert texts.caption(table) == (
        f"glyphs, percent, {said}. Means of 2 to 3 training seeds. ± is half of the 95 % t-interval over the seeds."
    )
    assert texts.differences_caption(table) == (
        f"Differences in points of test Recall@1 ({said}), with 95 % intervals, paired by seed; p of the paired "
        "t-test, corrected by Holm's method for all of this table."
    )
    assert texts.protocol(protocol) == said


def test_the_seeds_of_a_caption_are_those_with_the_value() -> None:
    table = plain_table(make_evidence(seeds=1))
    assert "One training seed each." in texts.caption(table)
    nothing = replace(table, rows=[replace(row, estimates={}) for row in table.rows])
    assert texts.caption(nothing) == f"glyphs, percent, {VALIDATION}."
    only_one_lost = replace(table, rows=[replace(table.rows[0], estimates={}), *table.rows[1:]])
    assert "One training seed each." in texts.caption(only_one_lost)


def test_intervals_over_queries_are_called_that() -> None:
    table = plain_table(make_evidence(seeds=1))
    over = Estimate(50.0, 48.0, 51.0, 400, over="queries")
    found = replace(table, rows=[replace(row, estimates={table.metric: over}) for row in table.rows])
    assert texts.caption(found).endswith("over the test queries of a single run: they leave the seed out.")
    beside = [replace(row, differences=[replace(d, estimate=over) for d in row.differences]) for row in table.rows]
    assert texts.differences_caption(replace(table, rows=beside)).endswith(
        "over the queries, paired by query; one seed each, so that nothing is said of other seeds."
    )


def test_the_overview_says_the_protocol_once_or_above_each_sweep() -> None:
    table = plain_table(make_evidence())
    table = replace(table, rows=[row for row in table.rows if row.name.endswith("-002")])
    cub, cars = replace(table, data="cub"), replace(table, data="cars")
    start = "Means in percent, with half of the 95 % interval over the training seeds where there are several"
    for protocol, said in (("validation", VALIDATION), ("paper", PAPER)):
        same = overview([replace(cub, protocol=protocol), replace(cars, protocol=protocol)])
        assert same is not None
        assert texts.overview_caption(same) == f"{start}; {said}."
        assert texts.overview_groups(same) == [("cub", 4), ("cars", 4)]
    mixed = overview([replace(cub, protocol="paper"), cars])
    assert mixed is not None
    assert texts.overview_caption(mixed) == f"{start}."
    assert texts.overview_groups(mixed) == [("cub, protocol: paper", 4), ("cars, protocol: validation", 4)]


def test_the_glossary_says_what_is_in_the_table_and_no_more() -> None:
    recall = "Recall@K: the percentage of images that have one of their own class among the K nearest others."
    mdr = "+ MDR: the loss with multi-level distance regularisation added."
    assert texts.glossary(["arcface", "n_pair"]) == recall
    assert texts.glossary(["triplet", "triplet + MDR"]) == f"{recall} {mdr}"
    assert texts.glossary(["triplet + MDR", "triplet_l2"]) == (
        f"{recall} triplet_l2: embeddings on the unit sphere, without MDR. {mdr}"
    )
