"""What is mended in Optuna's plots: ticks that overlap, quotes around names, colours that vanish on white."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

if TYPE_CHECKING:
    import optuna

_MANY_TICKS = 6
_LABEL_WIDTH = 16


def tidy_axis(axes: Any, name: str, study: "optuna.Study") -> None:
    """Give the x axis of a slice ticks that can be read."""
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
    """Make the axes of a parallel coordinate plot legible."""
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
    """Write 0.02 and 0.05 instead of powers; fewer marks where there are several decades."""
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
