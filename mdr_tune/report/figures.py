"""Draw the figures of a search with Optuna's matplotlib plots, and make their axes and labels legible."""

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mdr_tune.records.metrics import metric_label, unit_of
from mdr_tune.records.objectives import chosen_on
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.budget import AtBudget, TooFewTrials, at_budget
from mdr_tune.report.study import EVALUATOR, by_importance, importances, make_study
from mdr_tune.report.style import BLUE, DPI, optuna_pyplot
from mdr_tune.util.words import count

if TYPE_CHECKING:
    import optuna

SLICES_A_ROW = 3
MOST_SLICES, MOST_COORDINATES = 9, 6
"""Largest number of parameters in the figures of slices and of parallel coordinates. The most important ones are shown.
"""
_MANY_TICKS = 6
_LABEL_WIDTH = 16

_Plot = Callable[["optuna.Study", Sequence[str]], None]


def sweep_figures(
    records: Sequence[TrialRecord], metric: str, folder: Path, second_metric: str | None = None
) -> list[Path]:
    """Draw the figures of the main search in `records` into `folder` and return the files.

    The objectives are `metric` and `second_metric`, if given. Nothing is drawn if too few trials can be compared.
    """
    metrics = [metric, *([second_metric] if second_metric else [])]
    try:
        return draw_figures(at_budget(records, metrics), metrics, folder)
    except TooFewTrials:
        return []


def draw_figures(found: AtBudget, metrics: Sequence[str], folder: Path) -> list[Path]:
    """Draw the figures of the compared trials in `found` into `folder`, which is made if need be, and return the files.

    `metrics` names the objectives. The history is always drawn. Slices and parallel coordinates are drawn if a
    parameter varies, importances if they can be computed, and the Pareto front if there are two objectives.
    """
    study = make_study(found)
    plots: dict[str, _Plot] = {"history": _history}
    if importances(study):
        plots["importance"] = _importance
    if any(trial.params for trial in study.trials):
        plots |= {"slices": _slices, "parallel_coordinates": _parallel}
    if len(metrics) > 1:
        plots["pareto_front"] = _pareto
    folder.mkdir(parents=True, exist_ok=True)
    return [_draw(plot, study, metrics, found, folder / f"{name}.png") for name, plot in plots.items()]


def budget_title(found: AtBudget) -> str:
    """Return words for a figure's title on the compared trials: `mdr: best within 8 of 20 epochs, 12 trials`.

    Here, 12 trials of the arm `mdr` are compared by their best values within 8 epochs. A whole trial has 20 epochs.
    """
    whole = found.epochs >= found.longest
    epochs = count(found.epochs, "epoch") if whole else f"{found.epochs} of {found.longest} epochs"
    return f"{found.arm}: best within {epochs}, {count(len(found.records), 'trial')}"


def _draw(plot: _Plot, study: "optuna.Study", metrics: Sequence[str], found: AtBudget, file: Path) -> Path:
    with optuna_pyplot() as plt:
        plot(study, metrics)
        figure = plt.gcf()
        figure.suptitle(f"{file.stem.replace('_', ' ').capitalize()} · {budget_title(found)}", fontsize=11)
        figure.savefig(file, dpi=DPI, bbox_inches="tight")
    return file


def _value_of(index: int) -> Callable[["optuna.trial.FrozenTrial"], float]:
    return lambda trial: float(trial.values[index])


def _label(metric: str) -> str:
    name, unit = metric_label(metric), unit_of(metric)
    return name if name == unit else f"{name} on {chosen_on(metric)}, {unit}"


def _from_1(place: float, _position: int) -> str:
    """Return the label of the tick at the trial number `place`, which is `place` + 1: Optuna counts from 0."""
    return f"{place + 1:.0f}"


def _history(study: "optuna.Study", metrics: Sequence[str]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator
    from optuna.visualization.matplotlib import plot_optimization_history

    target = None if len(metrics) == 1 else _value_of(0)  # Optuna draws the best so far only without a target
    axes: Any = plot_optimization_history(study, target=target, target_name=_label(metrics[0]))
    axes.figure.set_size_inches(8, 4.5)
    axes.set_title("")
    axes.set_xlabel("compared trial, in the order in which they started")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_from_1))
    for line in axes.lines:
        line.set(drawstyle="steps-post", label="best so far")
    axes.collections[0].set_label("trial")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2)  # above: it hides no trial


def _importance(study: "optuna.Study", metrics: Sequence[str]) -> None:
    import matplotlib.pyplot as plt

    found = importances(study)
    _, axes = plt.subplots(figsize=(8, 1.4 + 0.4 * len(found)))
    names = list(reversed(found))
    bars = axes.barh(names, [found[name] for name in names], color=BLUE, height=0.65)
    axes.bar_label(bars, [f"{found[name]:.2f}" for name in names], padding=4)
    axes.set_xlabel(f"share of the variation of {metric_label(metrics[0])} ({EVALUATOR})")
    axes.set_xlim(0, max(found.values()) * 1.12)
    axes.grid(axis="y", visible=False)


def _slices(study: "optuna.Study", metrics: Sequence[str]) -> None:
    from matplotlib.gridspec import GridSpec
    from matplotlib.ticker import FuncFormatter, MaxNLocator
    from optuna.visualization.matplotlib import plot_slice

    names = by_importance(study)[:MOST_SLICES]
    panels: Any = plot_slice(study, names, target=_value_of(0), target_name=_label(metrics[0]))
    axes: list[Any] = list(panels.flat) if hasattr(panels, "flat") else [panels]
    columns = min(len(axes), SLICES_A_ROW)
    rows = math.ceil(len(axes) / columns)
    figure = axes[0].figure
    figure.set_size_inches(3.2 * columns + 1.6, 2.9 * rows + 0.4)
    grid = GridSpec(
        rows, columns, figure, left=0.09, right=0.88, top=1 - 0.5 / (2.9 * rows), bottom=0.1, hspace=0.5, wspace=0.12
    )
    for i, panel in enumerate(axes):
        panel.set_subplotspec(grid[i // columns, i % columns])
        panel.set_title("")
        panel.set_ylabel(_label(metrics[0]) if i % columns == 0 else "")
        panel.tick_params(labelbottom=True, labelleft=i % columns == 0)
        tidy_axis(panel, panel.get_xlabel(), study)
        for points in panel.collections:
            points.set(cmap="viridis", edgecolor="white", linewidth=0.5)
    bar = next(other for other in figure.axes if other not in axes)
    bar.set_position((0.9, 0.25, 0.015, 0.5))
    bar.set_aspect("auto")
    bar.set_ylabel("trial")
    bar.yaxis.set_major_locator(MaxNLocator(integer=True))
    bar.yaxis.set_major_formatter(FuncFormatter(_from_1))


def _parallel(study: "optuna.Study", metrics: Sequence[str]) -> None:
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    names = by_importance(study)[:MOST_COORDINATES]
    axes = plot_parallel_coordinate(study, names, target=_value_of(0), target_name=metric_label(metrics[0]))
    tidy_parallel(axes, study)


def _pareto(study: "optuna.Study", metrics: Sequence[str]) -> None:
    from optuna.visualization.matplotlib import plot_pareto_front

    axes: Any = plot_pareto_front(study, target_names=[_label(metric) for metric in metrics])
    axes.figure.set_size_inches(7, 5)
    axes.set_title("")
    for points, label in zip(axes.collections, ("other trials", "on the Pareto front"), strict=False):
        points.set_label(label)
    axes.legend(loc="best")


def tidy_axis(axes: Any, name: str, study: "optuna.Study") -> None:
    """Make the ticks of the x axis of `axes` legible. The axis shows the parameter `name` of `study`."""
    distribution = _distribution(study, name)
    if isinstance(distribution, CategoricalDistribution):
        ticks = [(tick, label.get_text().strip("'")) for tick, label in _tick_labels(axes)]
        axes.set_xticks([tick for tick, _ in ticks], [textwrap.fill(text, _LABEL_WIDTH) for _, text in ticks])
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlim(-0.4, len(ticks) - 0.6)
    elif isinstance(distribution, IntDistribution):
        values = sorted({trial.params[name] for trial in study.trials if name in trial.params})
        if len(values) <= _MANY_TICKS:
            axes.set_xticks(values, [str(value) for value in values])
            axes.minorticks_off()
    if isinstance(distribution, FloatDistribution) and distribution.log:
        _plain_log_ticks(axes.xaxis, distribution)


def tidy_parallel(axes: Any, study: "optuna.Study") -> None:
    """Make the parallel coordinate plot of `study` on `axes` legible: its size, its colours and its ticks."""
    import matplotlib.patheffects as effects
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = axes.figure
    names = [label.get_text() for label in axes.get_xticklabels()]
    figure.set_size_inches(1.7 * len(names) + 1, 5)
    axes.set_title("")
    axes.grid(visible=False)
    axes.set_xticks(range(len(names)), [textwrap.fill(name, _LABEL_WIDTH) for name in names], rotation=0)
    axes.spines["left"].set_visible(True)
    lines = axes.collections[0]
    lines.set(cmap="viridis", alpha=0.8, linewidth=1.4)
    dimensions = [other for other in figure.axes if other is not axes and other.get_xlim() == axes.get_xlim()]
    for name, dimension in zip(names[1:], dimensions, strict=False):
        dimension.grid(visible=False)
        dimension.spines["right"].set(visible=True, color="#888888")
        dimension.spines["left"].set_visible(False)
        distribution = _distribution(study, name)
        if isinstance(distribution, FloatDistribution) and distribution.log and dimension.get_yscale() == "log":
            _plain_log_ticks(dimension.yaxis, distribution)
        elif not isinstance(distribution, CategoricalDistribution) and not _has_gaps(study, name):
            dimension.yaxis.set_major_locator(MaxNLocator(5, integer=isinstance(distribution, IntDistribution)))
            dimension.yaxis.set_major_formatter(FuncFormatter(_plain))
        for label in dimension.get_yticklabels():
            label.set(fontsize=8, path_effects=[effects.withStroke(linewidth=3, foreground="white")])


def _has_gaps(study: "optuna.Study", name: str) -> bool:
    return any(name not in trial.params for trial in study.trials)


def _plain_log_ticks(axis: Any, distribution: FloatDistribution) -> None:
    """Label a logarithmic `axis` over the range of `distribution` with numbers such as 0.02, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = math.log10(distribution.high / distribution.low)
    axis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if decades < 1.2 else (1.0, 3.0) if decades < 2.2 else (1.0,))
    )
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _position: int) -> str:
    return f"{value:g}"


def _distribution(study: "optuna.Study", name: str) -> Any:
    return next((trial.distributions[name] for trial in study.trials if name in trial.distributions), None)


def _tick_labels(axes: Any) -> list[tuple[float, Any]]:
    return list(zip(axes.get_xticks(), axes.get_xticklabels(), strict=False))
