"""Plot Recall@K on the test classes over the values of K."""

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.names import split_of
from mdr_tune.report.plots.drawing import Drawing, draw_estimates, legend_height, new_figure
from mdr_tune.report.plots.shown_rows import few, intervals_in_words, label, looks, of_all
from mdr_tune.report.rows import AblationTable

MOST_ROWS = 8
_APART = 0.07
"""Distance between the points of two rows at one K, so that error bars are visible. Values of K are 1 apart."""


def recall_at_k(_evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw a line for each row of `table` that has Recall@K for all K; None without such a row, or with only one K."""
    prefix, split = f"{table.metric.partition('/')[0]}/recall_at_", split_of(table.metric)
    ks = sorted(int(metric.removeprefix(prefix)) for metric in table.metrics if metric.startswith(prefix))
    metrics = [f"{prefix}{k}" for k in ks]
    rows = few(table, MOST_ROWS, lambda row: all(metric in row.estimates for metric in metrics))
    if len(ks) < 2 or not rows:
        return None
    figure = new_figure(3.9 + legend_height([label(row) for row in rows]))
    axes = figure.subplots()
    known_looks = looks(table, rows)
    for i, row in enumerate(rows):
        shift = _APART * (i - (len(rows) - 1) / 2)
        places = [place + shift for place in range(len(ks))]
        draw_estimates(axes, places, [row.estimates[m] for m in metrics], known_looks[row.name], label(row), line=True)
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("K")
    axes.set_ylabel(f"Recall@K on {split} classes, %")
    figure.legend(loc="outside lower center", ncols=2)
    words = intervals_in_words([row.estimates[metric] for row in rows for metric in metrics])
    caption = (
        f"Share of the queries with an image of their class among the K nearest, on {split} classes. {words} "
        f"Points of one K are drawn side by side.{of_all(rows, table)}"
    )
    return Drawing(figure, "Recall@K", caption)
