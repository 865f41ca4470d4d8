"""Figures of the table's numbers: what is drawn is what it says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mdr_tune.report.plots.by_setting import beside, by_setting, group_name, number_varied
from mdr_tune.report.plots.differences import differences
from mdr_tune.report.plots.drawing import legend_height
from mdr_tune.report.plots.recall_at_k import recall_at_k
from mdr_tune.report.plots.shown_rows import best_and_baselines, few, intervals_in_words, label, looks, method_looks
from mdr_tune.report.rows import Difference, Estimate
from tests.report.make_evidence import make_evidence
from tests.report.plots.plain_table import METRIC, made_row, made_table, plain_table

EVIDENCE = make_evidence()
TABLE = plain_table(EVIDENCE)
MDR = "triplet + MDR"


def bars(axes: Any) -> dict[str, Any]:
    """Return the error bars of an axes by their label: points (n, 2) and ends (n, 2, 2)."""
    return {
        str(found.get_label()): (np.array(found[0].get_xydata()), np.array(found[2][0].get_segments()))
        for found in axes.containers
    }


def axes_of(drawing: Any) -> Any:
    assert drawing is not None
    return drawing.figure.axes[0]


def test_recall_at_k_has_the_tables_means_and_intervals() -> None:
    axes = axes_of(recall_at_k(EVIDENCE, TABLE))
    found = bars(axes)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4", "8"]
    assert len(found) == len(TABLE.rows)
    for row in TABLE.rows:
        points, ends = found[f"{row.method}, {row.setting}"]
        assert np.round(points[:, 0]).tolist() == [0, 1, 2, 3]
        for point, (low, high), k in zip(points, ends, (1, 2, 4, 8), strict=True):
            estimate = row.estimates[f"test/recall_at_{k}"]
            assert (point[1], low[1], high[1]) == pytest.approx((estimate.mean, estimate.low, estimate.high))


def test_one_k_is_no_curve() -> None:
    assert recall_at_k(EVIDENCE, replace(TABLE, metrics=[METRIC])) is None


def test_over_a_number_there_is_a_line_a_method() -> None:
    axes = axes_of(by_setting(EVIDENCE, TABLE))
    found = bars(axes)
    assert set(found) == {MDR, "triplet", "triplet_l2"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("embedding size", "test Recall@1, %")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["32", "64"]
    for method, (points, _) in found.items():
        means = [row.estimates[METRIC].mean for row in TABLE.rows if row.method == method]
        np.testing.assert_allclose(points[:, 1], means)
        np.testing.assert_allclose(points[:, 0], [32, 64], atol=0.012 * 32 + 1e-9)


def test_a_method_without_the_number_goes_across() -> None:
    rows = [made_row(f"mdr-{i}", MDR, f"weight {w}", 70 + i, mdr__weight=w) for i, w in enumerate([0.01, 0.1, 1.0])]
    axes = axes_of(by_setting(EVIDENCE, made_table([*rows, made_row("triplet-001", "triplet", "", 69)])))
    across = [line for line in axes.lines if line.get_label() == "triplet"]
    assert [list(line.get_ydata()) for line in across] == [[69, 69]]
    band = axes.patches[0]
    baseline = made_row("", "", "", 69).estimates[METRIC]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((baseline.low, baseline.high))
    assert axes.get_xscale() == "log"
    assert bars(axes)[MDR][0][:, 0] == pytest.approx([beside(x, [0.01, 1.0], -0.006) for x in (0.01, 0.1, 1.0)])


def test_what_is_no_line_over_a_number() -> None:
    sizes = [made_row(f"mdr-{i}", MDR, f"s{i}", 70, embedding__size=64, mdr__weight=0.1 * (i // 2)) for i in range(4)]
    assert number_varied(sizes) is None  # two rows have each weight: something else was varied too
    levels = [made_row(f"mdr-{i}", MDR, f"l{i}", 70, mdr__levels=[-3, 3], learn=bool(i)) for i in range(2)]
    assert number_varied(levels) is None
    both = [made_row(f"mdr-{i}", MDR, f"s{i}", 70, embedding__size=[64, 128][i % 2], mdr__weight=i) for i in range(3)]
    assert number_varied(both) == "mdr.weight"


def test_categories_are_points_with_their_seeds_in_groups() -> None:
    names = ["conv4", "resnet18"]
    rows = [
        made_row(f"{method}-{name}", method, f"backbone {name}", 60 + 5 * i + j, backbone__name=name)
        for i, name in enumerate(names)
        for j, method in enumerate(("triplet", MDR))
    ]
    axes = axes_of(by_setting(EVIDENCE, made_table(rows)))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["backbone conv4", "backbone resnet18"]
    assert [float(found[0].get_xdata()[0]) for found in axes.containers] == [60, 61, 65, 66]
    strokes = [
        sorted(line.get_xdata()) for line in axes.lines if line.get_marker() == "|" and line.get_markersize() == 8
    ]
    assert strokes == [[59, 60, 61], [60, 61, 62], [64, 65, 66], [65, 66, 67]]


def test_groups_of_levels_and_of_losses() -> None:
    levels = [made_row("a", MDR, "levels [-3, 3]", 70), made_row("b", MDR, "", 70), made_row("c", "triplet", "", 70)]
    table = made_table(levels)
    assert [group_name(table, row) for row in levels] == ["levels [-3, 3]", "as in the file", "as in the file"]
    assert group_name(made_table([levels[0], levels[2]]), levels[2]) == "no MDR"
    losses = [made_row(f"{i}{end}", f"loss{i}{end}", "", 70) for i in range(3) for end in ("", " + MDR")]
    assert [group_name(made_table(losses), row) for row in losses] == [f"loss{i}" for i in (0, 0, 1, 1, 2, 2)]


def test_intervals_end_at_what_percent_can_be() -> None:
    rows = [made_row("a", "triplet", "x 1", 99.5), made_row("b", "triplet", "y 2", 50)]
    low, high = axes_of(by_setting(EVIDENCE, made_table(rows))).get_xlim()
    assert low < 50
    assert high == pytest.approx(100.5)


def test_differences_have_their_intervals_and_verdicts() -> None:
    drawing = differences(EVIDENCE, TABLE)
    axes = axes_of(drawing)
    expected = [difference for row in TABLE.rows for difference in row.differences]
    assert len(axes.get_yticklabels()) == len(expected) == 4
    found = bars(axes)
    for place, difference in enumerate(expected):
        points, ends = found[difference.verdict]
        at = points[:, 1].tolist().index(place)
        estimate = difference.estimate
        assert (points[at][0], *ends[at][:, 0]) == pytest.approx((estimate.mean, estimate.low, estimate.high))
    assert [text.get_text() for text in axes.texts] == ["2 seeds", "2 seeds", "3 seeds", "3 seeds"]
    markers = {label: axes.containers[i][0].get_marker() for i, label in enumerate(found)}
    assert len(set(markers.values())) == len(markers)
    assert drawing is not None
    assert "paired by seed." in drawing.caption


def test_differences_over_queries_say_so() -> None:
    gap = Difference("b", "triplet", Estimate(1.0, 0.2, 1.8, 400, over="queries"), None, None, "not known")
    row = replace(made_row("a", MDR, "", 70), differences=[gap])
    drawing = differences(EVIDENCE, made_table([row, made_row("b", "triplet", "", 69)]))
    assert drawing is not None
    assert "paired by query. Error bars: 95 % bootstrap intervals over the queries of a single run." in drawing.caption
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == ["1 seed"]
    assert differences(EVIDENCE, made_table([made_row("a", MDR, "", 70)])) is None


def test_the_best_row_stands_after_its_baselines() -> None:
    assert [row.name for row in best_and_baselines(TABLE, lambda _: True)] == [
        "triplet-002",
        "triplet_l2-002",
        "mdr-002",
    ]
    found = best_and_baselines(TABLE, lambda row: row.name not in ("mdr-002", "triplet-001"))
    assert [row.name for row in found] == ["triplet_l2-001", "mdr-001"]
    assert [row.name for row in best_and_baselines(TABLE, lambda row: row.method == "triplet")] == ["triplet-002"]


def test_few_rows_keep_the_tables_order() -> None:
    assert [row.name for row in few(TABLE, 4)] == ["mdr-001", "mdr-002", "triplet-002", "triplet_l2-002"]
    assert few(TABLE, 6) == TABLE.rows


def test_no_two_rows_look_alike_without_their_colours() -> None:
    many = [made_row(f"mdr-{i}", MDR, f"setting {i}", 70) for i in range(8)]
    seen = {(look.marker, look.dash, look.filled) for look in looks(made_table(many), many).values()}
    assert len(seen) == 8
    methods = method_looks(TABLE)
    assert methods[MDR].filled
    assert methods[MDR].dash == "-"
    assert len({(look.marker, look.dash) for look in methods.values()}) == 3
    three = best_and_baselines(TABLE, lambda _: True)
    assert looks(TABLE, three) == {row.name: methods[row.method] for row in three}


def test_what_error_bars_are() -> None:
    seeds = [Estimate(1, 0, 2, 3), Estimate(1, 0, 2, 2)]
    queries = Estimate(1, 0, 2, 400, over="queries")
    assert intervals_in_words(seeds) == "Error bars: 95 % t-intervals over 2 to 3 seeds."
    assert "or 95 % bootstrap intervals" in intervals_in_words([*seeds, queries])
    assert intervals_in_words([Estimate(1, None, None, 1)]) == "One seed each: there are no error bars."


def test_long_labels_are_wrapped_and_cut() -> None:
    assert label(made_row("a", MDR, "levels [-3, 3]", 70)) == "triplet + MDR, levels [-3, 3]"
    assert label(made_row("a", MDR, "", 70)) == MDR
    lines = label(made_row("a", MDR, "margin 0.2, " * 20, 70), 30).split("\n")
    assert lines[0] == "triplet + MDR,"
    assert len(lines) == 4
    assert max(map(len, lines)) <= 30
    assert lines[-1].endswith("\N{HORIZONTAL ELLIPSIS} (a)")  # which tells it from others that begin so


def test_a_legend_has_the_room_of_its_longer_column() -> None:
    assert legend_height(["a", "b", "c"]) == pytest.approx(2 * 0.15 + 2 * 0.08)
    assert legend_height(["a", "b\nc\nd"]) == pytest.approx(3 * 0.15 + 0.08)
