"""Plot the sweep's metric over the epochs, on the validation classes and, if recorded, on train and test classes."""

from typing import TYPE_CHECKING

from mdr_tune.records.metrics import metric_label
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.names import quality
from mdr_tune.report.plots.drawing import Drawing, legend_height, panel_grid, whole_epochs
from mdr_tune.report.plots.series import Series, series
from mdr_tune.report.plots.shown_rows import few, label, looks, of_all, runs_in_words
from mdr_tune.report.rows import AblationTable, Row
from mdr_tune.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 4
"""Largest number of rows in a figure. With more rows, their bands would hide each other."""


def curve_keys(metric: str) -> dict[str, str]:
    """Return the name that the sweep's `metric` has on each split: `curves/train_recall_at_1` for `train`."""
    name = quality(metric)
    return {"train": f"curves/train_{name}", "validation": f"val/{name}", "test": f"curves/test_{name}"}


def learning_curves(evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw the best rows of `table` as lines over the epochs, a panel for each split; None if no row has two epochs."""
    known = {key for trial in evidence.sweep.trials for epoch in trial.record.history for key in epoch}
    splits = {split: key for split, key in curve_keys(evidence.sweep.metric).items() if key in known}

    def usable(row: Row) -> bool:
        found = [series(row.records, key, row.folds) for key in splits.values()]
        return any(values is not None and len(values.epochs) > 1 for values in found)

    rows = few(table, MOST_ROWS, usable)
    if not rows:
        return None
    name = metric_label(curve_keys(evidence.sweep.metric)["validation"])
    figure, panels = panel_grid(len(splits), 3.2 + legend_height([label(row) for row in rows]), share_y=False)
    known_looks = looks(table, rows)
    for axes, (split, key) in zip(panels, splits.items(), strict=True):
        for row in rows:
            values = series(row.records, key, row.folds)
            if values is not None:
                _curve(axes, values, known_looks[row.name], label(row))
        axes.set_title(f"{split} classes")
        axes.set_xlabel("epoch")
        whole_epochs(axes)
    panels[0].set_ylabel(f"{name}, %")
    handles, labels = max((axes.get_legend_handles_labels() for axes in panels), key=lambda found: len(found[1]))
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    seeds = runs_in_words(rows)
    scales = " Each panel has its own scale." if len(panels) > 1 else ""
    band = "mean with its 95 % interval as a band" if any(len(row.seeds) > 1 for row in rows) else "values"
    caption = f"{name} over the epochs on {_listed(list(splits))} classes: {band}, {seeds} a row.{scales}"
    return Drawing(figure, "Learning curves", caption + of_all(rows, table))


def _curve(axes: "Axes", values: Series, look: Look, name: str) -> None:
    axes.plot(
        values.epochs,
        values.mean,
        **look.line(),
        **(look.points() | {"markersize": 4}),
        markevery=max(1, len(values.epochs) // 8),
        label=name,
    )
    if values.low is not None and values.high is not None:
        axes.fill_between(values.epochs, values.low, values.high, color=look.colour, alpha=0.14, linewidth=0)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
