"""Plot what each row gains over its baselines, with the interval of the difference: a forest plot."""

import textwrap
from typing import Any

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.names import full_title
from mdr_tune.report.plots.drawing import Drawing, draw_estimates, new_figure
from mdr_tune.report.plots.shown_rows import intervals_in_words, label, sentence_start
from mdr_tune.report.rows import AblationTable, Difference, Row
from mdr_tune.report.style import GREEN, GREY, VERMILLION, Look
from mdr_tune.report.verdicts import Verdict
from mdr_tune.util.words import count

MOST = 30
VERDICTS: dict[Verdict, Look] = {
    "better": Look(GREEN, "^", "-", True),
    "worse": Look(VERMILLION, "v", "-", True),
    "not separated": Look("#444444", "o", "-", False),
    "not separated after correction": Look("#444444", "s", "-", False),
    "better in one seed": Look(GREEN, "^", "-", False),
    "worse in one seed": Look(VERMILLION, "v", "-", False),
    "not separated in one seed": Look("#444444", "o", "-", False),
    "not known": Look(GREY, "D", "-", False),
}


def differences(_evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw what rows of `table` gain over their baselines, at most `MOST` differences; None if there are none."""
    found = [(row, difference) for row in table.rows for difference in row.differences]
    if not found:
        return None
    shown = found[:MOST]
    labels = [_label(row, difference) for row, difference in shown]
    figure = new_figure(1.4 + sum(0.2 + 0.17 * (1 + text.count("\n")) for text in labels))
    axes = figure.subplots()
    for verdict, look in VERDICTS.items():
        places = [i for i, (_, difference) in enumerate(shown) if difference.verdict == verdict]
        if places:
            draw_estimates(axes, places, [shown[i][1].estimate for i in places], look, verdict, across=True)
    axes.axvline(0, color="#222222", linewidth=1, zorder=1)
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"difference of {full_title(table.metric)}, points")
    axes.grid(axis="y", visible=False)
    _write_n(axes, shown)
    figure.legend(loc="outside upper center", ncols=4)
    left_out = f" Shown are the first {MOST} of {len(found)}." if len(found) > MOST else ""
    judged = "A verdict needs a p of at most 0.05 after Holm's correction."
    if all(difference.p is None for _, difference in shown):
        judged = "One seed each, or too few for a test: another seed may not repeat it."
    words = intervals_in_words([difference.estimate for _, difference in shown])
    caption = (
        f"{sentence_start(full_title(table.metric))} of each row less its baseline's, {_pairing(shown)}. {words} "
        f"Right of 0 the row is better. {judged}{left_out}"
    )
    return Drawing(figure, "Differences to the baselines", caption)


def _label(row: Row, difference: Difference) -> str:
    return f"{label(row, 38)}\n" + textwrap.fill(f"less {difference.label}", 38)


def _pairing(shown: list[tuple[Row, Difference]]) -> str:
    kinds = sorted({difference.estimate.over for _, difference in shown}, reverse=True)
    return "paired by " + " or by ".join(
        {"seeds": "seed", "folds": "fold and seed", "queries": "query"}[kind] for kind in kinds
    )


def _write_n(axes: Any, shown: list[tuple[Row, Difference]]) -> None:
    """Write at the right edge of `axes` how many seeds each of the differences in `shown` is computed from."""
    for i, (_, difference) in enumerate(shown):
        n = difference.estimate.n
        over = difference.estimate.over
        text = "1 seed" if over == "queries" else count(n, over.removesuffix("s"))
        axes.annotate(
            text,
            (1, i),
            (4, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
