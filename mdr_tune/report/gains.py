"""What MDR gained, in plain sentences made of a table's numbers. No figures of speech."""

from dataclasses import dataclass

from mdr_tune.records.objectives import best_key
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.ablation_table import AblationTable, Difference, Estimate, TableRow, Verdict
from mdr_tune.report.output.texts import full_title, number, p_value, row_title, signed
from mdr_tune.report.row_settings import WITH_MDR, comparable_key
from mdr_tune.util.words import count

NAMED = 3
"""Rows named in a sentence; of more the number is said."""
SAID: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "not separated": "the seeds do not separate the two",
    "not known": "it is not known whether another seed would give the same",
}


@dataclass(frozen=True)
class _Group:
    """Differences that are told together: all to the same kind of baseline."""

    name: str
    found: list[tuple[TableRow, Difference]]


def summary_sentences(evidence: SweepEvidence, table: AblationTable) -> list[str]:
    """Return what the table says, in at most six sentences: the best row, then MDR beside each kind of baseline."""
    sentences = [*_best_row(evidence, table)]
    if not sentences:
        return ["No trial ran to its end: there is nothing to compare."]
    groups = _groups(evidence, table)
    if not groups:
        return [*sentences, _nothing_compared(table)]
    tests = sum(difference.p is not None for row in table.rows for difference in row.differences)
    for group in groups:
        sentences += _gain(group, table.metric, tests > 1)
    return sentences


def _best_row(evidence: SweepEvidence, table: AblationTable) -> list[str]:
    """Return the sentence on the row that is the best on the classes that the protocol chooses on."""
    chosen_by = best_key(evidence.sweep.metric)
    by = chosen_by if chosen_by in table.metrics else table.metric
    rows = [row for row in table.rows if by in row.estimates and table.metric in row.estimates]
    best = max(rows, key=lambda row: row.estimates[by].mean, default=None)
    if best is None:
        return []
    estimate = best.estimates[table.metric]
    how = "on validation" if by != table.metric else f"by {full_title(table.metric)}"
    return [f"Best {how}: {row_title(best)}, with {full_title(table.metric)} {_told(estimate)}."]


def _told(estimate: Estimate) -> str:
    """Return a value with its interval and n: `79.92 (95 % interval 75.20 to 84.63, n = 3 seeds)`."""
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate.mean)} ({_n(estimate)}, no interval)"
    ends = f"{number(estimate.low)} to {number(estimate.high)}"
    return f"{number(estimate.mean)} (95 % interval {ends}, {_n(estimate)})"


def _told_difference(difference: Difference, is_corrected: bool, unit: str = "") -> str:
    """Return a difference with its interval, p and n; of the only test of a table, p is not corrected for anything."""
    estimate = difference.estimate
    parts = [] if estimate.low is None or estimate.high is None else [_ends(estimate.low, estimate.high)]
    if difference.p_holm is not None:
        name = "corrected p" if is_corrected else "p"
        parts.append(f"{name} {_equals(p_value(difference.p_holm))}")
    return f"{signed(estimate.mean)}{unit} ({', '.join([*parts, _n(estimate)])})"


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"


def _ends(low: float, high: float) -> str:
    return f"95 % interval {signed(low)} to {signed(high)}"


def _n(estimate: Estimate) -> str:
    return f"n = {count(estimate.n, 'seed')}" if estimate.over == "seeds" else f"over {estimate.n} queries, one seed"


def _groups(evidence: SweepEvidence, table: AblationTable) -> list[_Group]:
    """Return the differences by the kind of their baseline: the same without MDR, or in another embedding mode; all
    together where the rows are compared with one that the user named."""
    rows = {row.name: row for row in table.rows}
    found = [(row, difference) for row in table.rows for difference in row.differences]
    if not all(_is_gain(evidence, table, row, rows[d.baseline]) for row, d in found):
        names = " and ".join(dict.fromkeys(f"{d.baseline} ({row_title(rows[d.baseline])})" for _, d in found))
        return [_Group(f"Other rows beside {names}", found)]
    same = [(row, d) for row, d in found if d.label == row.method.removesuffix(WITH_MDR)]
    other = [(row, d) for row, d in found if d.label != row.method.removesuffix(WITH_MDR)]
    groups = []
    for pairs, several in ((same, "the same loss without MDR"), (other, "another loss or embedding mode without MDR")):
        labels = list(dict.fromkeys(difference.label for _, difference in pairs))
        if pairs:
            groups.append(_Group(f"MDR over {labels[0] if len(labels) == 1 else several}", pairs))
    return groups


def _is_gain(evidence: SweepEvidence, table: AblationTable, row: TableRow, baseline: TableRow) -> bool:
    """Say whether a difference is what MDR does: of a search whose arms were tuned apart, or all else being equal."""
    if not row.method.endswith(WITH_MDR) or baseline.method.endswith(WITH_MDR):
        return False
    keys = {
        record.config_name: comparable_key(record.config)
        for record in evidence.sweep.records
        if record.config_name in (row.name, baseline.name)
    }
    return not table.is_grid or keys[row.name] == keys[baseline.name]


def _gain(group: _Group, metric: str, is_corrected: bool) -> list[str]:
    """Return one sentence on a single difference; of several, one on both ends of their range and one on what the
    seeds tell."""
    title = full_title(metric)
    if len(group.found) == 1:
        _, difference = group.found[0]
        told = _told_difference(difference, is_corrected, f" points of {title}")
        return [f"{group.name}: {told}: {SAID[difference.verdict]}."]
    return [f"{group.name}: {_range(group, title, is_corrected)}.", f"{group.name}: {_counts(group.found)}."]


def _range(group: _Group, title: str, is_corrected: bool) -> str:
    """Return the smallest and the largest difference, each with its row, or what all of them come to."""
    ordered = sorted(group.found, key=lambda pair: pair[1].estimate.mean)
    (least, bottom), (most, top) = ordered[0], ordered[-1]
    low, high = (signed(difference.estimate.mean) for difference in (bottom, top))
    if low == high:
        return f"{low} points of {title} in each of {len(ordered)} rows"
    one_method = len({row.method for row, _ in group.found}) == 1
    lowest, highest = (row.setting if one_method and row.setting else row_title(row) for row in (least, most))
    return (
        f"{low} to {high} points of {title} in {len(ordered)} rows; the lowest with {lowest}: "
        f"{_told_difference(bottom, is_corrected)}; the highest with {highest}: {_told_difference(top, is_corrected)}"
    )


def _counts(found: list[tuple[TableRow, Difference]]) -> str:
    """Return how many rows are better, worse and neither; the worse ones by name."""
    rows: dict[str, list[TableRow]] = {verdict: [] for verdict in SAID}
    for row, difference in found:
        rows[difference.verdict].append(row)
    if len(rows["not known"]) == len(found):
        return f"in {len(found)} of {len(found)} rows {SAID['not known']}"
    parts = [f"better in {len(rows['better'])} of {len(found)} rows"]
    parts += [f"worse in {len(rows['worse'])} ({_named(rows['worse'])})"] if rows["worse"] else []
    parts += [f"in {len(rows[v])} {SAID[v]}" for v in ("not separated", "not known") if rows[v]]
    return ", ".join(parts)


def _named(rows: list[TableRow]) -> str:
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return "; ".join(row_title(row) for row in rows[:NAMED]) + more


def _nothing_compared(table: AblationTable) -> str:
    methods = [row.method for row in table.rows]
    if not any(method.endswith(WITH_MDR) for method in methods):
        return "No row has MDR: nothing is said of it."
    if all(method.endswith(WITH_MDR) for method in methods):
        return "No row is without MDR: what MDR gains is not known."
    return "No row with MDR has a baseline that is equal but for MDR and gave a value: what MDR gains is not known."
