"""Turn the numbers and names of an ablation's table into text. All formats of the report use these texts."""

from collections.abc import Sequence

from mdr_tune.records.metrics import metric_label
from mdr_tune.report.names import full_title, quality, split_of
from mdr_tune.report.overview import Overview
from mdr_tune.report.row_settings import WITH_MDR
from mdr_tune.report.rows import EVALUATION, AblationTable, Difference, Estimate, Row
from mdr_tune.statistics import Interval
from mdr_tune.util.words import count

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""Text of a cell that has no number."""


def number(value: float) -> str:
    """Return the percentage `value` as text with two decimals. Seeds already differ in the first decimal."""
    return f"{_rounded(value):.2f}".replace("-", MINUS)


def signed(value: float) -> str:
    """Return `value`, in points, with its sign: `+1.20` or `−0.35`. A value that rounds to zero is `+0.00`."""
    return f"{_rounded(value):+.2f}".replace("-", MINUS)


def _rounded(value: float) -> float:
    return round(value, 2) + 0.0  # + 0.0 turns -0.0 into 0.0


def spread(estimate: Estimate) -> str:
    """Return the interval of `estimate` as text; empty if there is none.

    An interval over seeds is `± 0.45`, and an interval over queries is `[71.20, 74.00]`.
    """
    if estimate.low is None or estimate.high is None:
        return ""
    if estimate.over == "queries":  # its two sides have different lengths
        return " ".join(filter(None, (ends(estimate), ends(estimate.over_classes))))
    return f"± {number((estimate.high - estimate.low) / 2)}"


def ends(estimate: Interval | None) -> str:
    """Return the interval of `estimate` as text, `[71.20, 74.00]`; empty if there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def interval(estimate: Interval | None) -> str:
    """Return the interval of a difference's `estimate` as text, `[+0.41, +1.99]`; a dash if there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return NONE
    return f"[{signed(estimate.low)}, {signed(estimate.high)}]"


def p_value(p: float | None) -> str:
    """Return the p-value `p` as text, `0.012` or `< 0.001`; a dash if there is none.

    A value of 0.1 or more has two decimals, a smaller value three. A value that would read 0.050 has four decimals, so
    that the text shows on which side of 0.05 the value is.
    """
    if p is None:
        return NONE
    if p < 0.001:
        return "< 0.001"
    if abs(p - 0.05) < 0.0005:
        return f"{p:.4f}"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def pairs(difference: Difference) -> str:
    """Return the number of pairs behind `difference`, with their unit: `3 seeds`, `400 queries`."""
    return runs_in_words(difference.estimate)


def runs_in_words(estimate: Estimate) -> str:
    """Return in words what `estimate` is over: `3 seeds`, `400 queries`, or `4 folds, 12 trials`."""
    if estimate.over == "queries":
        return f"{estimate.n} queries"
    if estimate.over == "folds":
        return f"{count(estimate.n, 'fold')}, {count(len(estimate.values), 'trial')}"
    return count(estimate.n, "seed")


def seeds_in(row: Row, metric: str) -> int:
    """Return the number of seeds in the mean of `metric` of `row`: those that ran to their end and have a value.

    With folds it is the number of trials, one for each fold and seed.
    """
    estimate = row.estimates.get(metric)
    if estimate is None:
        return 0
    if estimate.over == "folds":
        return len(estimate.values)
    return estimate.n if estimate.over == "seeds" else 1


def count_title(table: AblationTable) -> str:
    """Return the title of the column of `counted`: `seeds`; `trials` with folds, `queries` of evaluated models."""
    if table.is_evaluation:
        return "queries"
    return "trials" if any(row.folds for row in table.rows) else "seeds"


def counted(table: AblationTable, row: Row) -> str:
    """Return the number of seeds of `row` of `table`, see `seeds`; of an evaluated model, the number of queries."""
    if not table.is_evaluation:
        return seeds(row, table.metric)
    return f"{row.estimates[table.metric].n:,}" if table.metric in row.estimates else "0"


def seeds(row: Row, metric: str) -> str:
    """Return the number of seeds in the mean of `metric` of `row`: `3`, or `2 of 3` if one seed has no value."""
    found, begun = seeds_in(row, metric), len(row.seeds) + len(row.failed_seeds)
    return str(found) if found == begun else f"{found} of {begun}"


def splits(metrics: Sequence[str]) -> list[tuple[str, int]]:
    """Return the headings above the columns of `metrics`: each split, and the number of adjacent columns it spans."""
    found: list[tuple[str, int]] = []
    for metric in metrics:
        split = split_of(metric)
        if found and found[-1][0] == split:
            found[-1] = (split, found[-1][1] + 1)
        else:
            found.append((split, 1))
    return found


def highest(table: AblationTable) -> dict[str, str]:
    """Return, for each metric that at least two rows of `table` have, the name of the row with the best mean.

    The best is the highest, and of the equal error rate the lowest. A false accept rate at a given threshold is not
    better or worse by itself.
    """
    found: dict[str, str] = {}
    for metric in table.metrics:
        means = {row.name: row.estimates[metric].mean for row in table.rows if metric in row.estimates}
        if len(means) > 1 and not quality(metric).startswith("far_"):
            best = min if quality(metric) == "eer" else max
            found[metric] = best(means, key=means.__getitem__)
    return found


def best_mean(table: AblationTable) -> str:
    """Return words for what `highest` marks in a column of `table`."""
    has_errors = any(quality(metric) == "eer" for metric in table.metrics)
    return "highest mean of the column" + (", lowest of EER" if has_errors else "")


def is_separated(row: Row) -> bool:
    """Return whether `row` has the verdict `better` against all of its baselines; false for a row without baselines."""
    return bool(row.differences) and all(difference.verdict == "better" for difference in row.differences)


DIFFERENCE_TITLES = ("baseline", "verdict", "difference", "95 % interval", "pairs", "p", "p (Holm)")
"""Titles of the cells that `difference_cells` returns."""


def difference_cells(difference: Difference) -> list[str]:
    """Return the table cells of `difference`, in the order of `DIFFERENCE_TITLES`."""
    return [
        difference.label,
        difference.verdict,
        signed(difference.estimate.mean),
        interval(difference.estimate),
        pairs(difference),
        p_value(difference.p),
        p_value(difference.p_holm),
    ]


EVALUATED_TITLES = ("less", "metric", "difference", "95 % over queries", "95 % over classes", "queries")


def difference_titles(table: AblationTable) -> tuple[str, ...]:
    """Return the titles of the cells that `cells_of` returns for a difference of `table`."""
    return EVALUATED_TITLES if table.is_evaluation else DIFFERENCE_TITLES


def cells_of(table: AblationTable, difference: Difference) -> list[str]:
    """Return the table cells of a `difference` of `table`, in the order of `difference_titles`."""
    if not table.is_evaluation:
        return difference_cells(difference)
    estimate = difference.estimate
    found = [difference.label, metric_label(difference.metric), signed(estimate.mean), interval(estimate)]
    return [*found, interval(estimate.over_classes), f"{estimate.n:,}"]


def name_titles(table: AblationTable) -> list[str]:
    """Return the titles of the columns that name a row: `setting` and `method`, or `method` if no row has a setting."""
    if table.is_evaluation:
        return ["model"]
    return ["setting", "method"] if any(row.setting for row in table.rows) else ["method"]


def name_cells(table: AblationTable, row: Row) -> list[str]:
    """Return the cells that name `row` of `table`, in the order of `name_titles`."""
    return [row.setting, row.method] if len(name_titles(table)) == 2 else [row.method]


def differences_of(table: AblationTable) -> list[tuple[Row, Difference]]:
    """Return every difference of `table` with its row, in the order of the rows."""
    return [(row, difference) for row in table.rows for difference in row.differences]


_METRICS = {
    "map_at_": "MAP@K: the precisions at the hits among the K nearest, added up, over min(K, R); mean over queries.",
    "precision_at_": "precision@K: the share of hits among the K nearest.",
    "mrr": "MRR: the mean of 1 / rank of the first hit.",
    "nmi": "NMI: normalised mutual information of the classes and as many clusters of k-means.",
    "tar_at_far_": "TAR at FAR: the percentage of pairs of one class that are accepted where FAR of the others are.",
    "eer": "EER: the error rate where FAR = 1 - TAR.",
    "tar_at_val_threshold_": "At val threshold: with the threshold that has the FAR on the validation classes.",
}
"""Explanations of metrics on request, by the beginnings of their names."""


def glossary(methods: Sequence[str], metrics: Sequence[str] = ()) -> str:
    """Return sentences that explain Recall@K, those of `metrics` that are measured on request, and parts of names.

    The parts are the endings `_l2` and ` + MDR`, if names in `methods` have them.
    """
    parts = ["Recall@K: the percentage of images that have one of their own class among the K nearest others."]
    names = [quality(metric) for metric in metrics if quality(metric) != "map_at_r"]
    parts += [text for start, text in _METRICS.items() if any(name.startswith(start) for name in names)]
    on_sphere = next((method for method in methods if method.removesuffix(WITH_MDR).endswith("_l2")), None)
    if on_sphere is not None:
        parts.append(f"{on_sphere.removesuffix(WITH_MDR)}: embeddings on the unit sphere, without MDR.")
    if any(method.endswith(WITH_MDR) for method in methods):
        parts.append("+ MDR: the loss with multi-level distance regularisation added.")
    return " ".join(parts)


_PROTOCOLS = {
    "validation": "best epochs chosen on validation classes",
    "paper": "best epochs chosen on the test classes, as the authors do",
    EVALUATION: "models as they are",
}


def protocol(name: str) -> str:
    """Return words for the classes on which the protocol `name`, `validation` or `paper`, chooses the best epochs."""
    return _PROTOCOLS.get(name, name)


def caption(table: AblationTable) -> str:
    """Return the caption of the values of `table`: data set, protocol, number of seeds, and kind of intervals."""
    if table.is_evaluation:
        return f"{table.data}, percent. In brackets 95 % intervals by the bootstrap, over the queries and over classes."
    counts = sorted({seeds_in(row, table.metric) for row in table.rows} - {0})
    over = {e.over for row in table.rows for e in row.estimates.values() if e.low is not None}
    parts = [f"{table.data}, percent, {protocol(table.protocol)}."]
    if counts:
        many = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
        folds = next((row.folds for row in table.rows if row.folds), None)
        if folds is not None:
            parts.append(f"Means over {folds} folds of the classes and the seeds in each, of {many} trials.")
        else:
            parts.append(f"Means of {many} training seeds." if counts != [1] else "One training seed each.")
    if "seeds" in over:
        parts.append("± is half of the 95 % t-interval over the seeds.")
    if "folds" in over:
        parts.append("± is half of the 95 % interval over the folds, by Nadeau and Bengio's corrected variance.")
    if "queries" in over:
        parts.append("Brackets are 95 % intervals over the test queries of a single run: they leave the seed out.")
    return " ".join(parts)


def differences_caption(table: AblationTable) -> str:
    """Return the caption of the differences of `table`: metric, protocol, pairing and p-values."""
    if table.is_evaluation:
        return "Differences in points to the first model, paired by query, with 95 % intervals by the bootstrap."
    over = {difference.estimate.over for _, difference in differences_of(table)}
    text = f"Differences in points of {full_title(table.metric)} ({protocol(table.protocol)}), with 95 % intervals"
    if over == {"queries"}:
        return f"{text} over the queries, paired by query; one seed each, so that nothing is said of other seeds."
    if "folds" in over:
        how = "p of the t-test over the folds by Nadeau and Bengio's corrected variance"
        return f"{text}, paired by fold and seed; {how}, corrected by Holm's method for all of this table."
    return f"{text}, paired by seed; p of the paired t-test, corrected by Holm's method for all of this table."


def value(estimate: Estimate | None) -> str:
    """Return the mean of `estimate` with its interval as text: `79.92 ± 0.45`. Return a dash for None."""
    return NONE if estimate is None else " ".join(filter(None, (number(estimate.mean), spread(estimate))))


def overview_caption(overview: Overview) -> str:
    """Return the caption of `overview`, with the protocol if all sweeps have the same one."""
    text = "Means in percent, with half of the 95 % interval over the training seeds where there are several"
    return f"{text}; {protocol(overview.protocols[0])}." if len(set(overview.protocols)) == 1 else f"{text}."


def overview_groups(overview: Overview) -> list[tuple[str, int]]:
    """Return for each sweep of `overview` the heading above its columns, and the number of its columns."""
    found: dict[tuple[str, str], int] = {}
    for column in overview.columns:
        found[column.sweep, column.data] = found.get((column.sweep, column.data), 0) + 1
    return [(data, width) for (_, data), width in found.items()]


def overview_rows(overview: Overview) -> list[list[str]]:
    """Return the cells of each row of `overview`. The first cell is the name of the method."""
    return [[method, *map(value, cells)] for method, cells in zip(overview.methods, overview.cells, strict=True)]
