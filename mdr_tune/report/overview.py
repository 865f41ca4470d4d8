"""Several sweeps with the same methods on different data, beside each other: Table 1 of the paper."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.records.objectives import recall_rank
from mdr_tune.report.rows import AblationTable, Estimate


@dataclass(frozen=True)
class OverviewColumn:
    """One metric of one sweep.

    Attributes:
        sweep: Its name.
        data: What stands above the columns of a sweep: the data set, with the sweep's name where two have the same,
            and the protocol where they differ.
        metric: `test/recall_at_1`.
    """

    sweep: str
    data: str
    metric: str


@dataclass(frozen=True)
class Overview:
    """Rows by method, columns by data set and metric.

    Attributes:
        methods: Of the rows, in the order of the sweeps' own tables.
        columns: Those of one sweep stand together.
        protocols: Of the sweeps, in the order of their columns: on which classes their best epochs were chosen.
        cells: One list a row; None where a sweep lacks the method, or the method gave no value.
    """

    methods: list[str]
    columns: list[OverviewColumn]
    protocols: list[str]
    cells: list[list[Estimate | None]]


def overview(tables: Sequence[AblationTable]) -> Overview | None:
    """Return the methods of several sweeps beside each other, each with Recall@K.

    None where that is no table: of a single sweep, of sweeps with several rows of a method (settings that vary), or of
    sweeps that have no method in common.
    """
    rows = [{row.method: row for row in table.rows} for table in tables]
    if len(tables) < 2 or any(len(by) != len(table.rows) for by, table in zip(rows, tables, strict=True)):
        return None
    counts = Counter(method for by in rows for method in by)
    if max(counts.values(), default=0) < 2:
        return None
    same_data = Counter(table.data for table in tables)
    protocols = [table.protocol for table in tables]
    columns: list[OverviewColumn] = []
    cells: dict[str, list[Estimate | None]] = {method: [] for method in counts}
    for table, by in zip(tables, rows, strict=True):
        data = table.data if same_data[table.data] == 1 else f"{table.data} ({table.sweep})"
        if len(set(protocols)) > 1:
            data += f", protocol: {table.protocol}"
        for metric in _recalls(table):
            columns.append(OverviewColumn(table.sweep, data, metric))
            for method, row in cells.items():
                row.append(by[method].estimates.get(metric) if method in by else None)
    return Overview(list(cells), columns, protocols, list(cells.values()))


def _recalls(table: AblationTable) -> list[str]:
    """Return Recall@K for each K, on the classes of the table's metric; that metric if it is none."""
    group = table.metric.split("/")[0]
    found = [m for m in table.metrics if m.split("/")[0] == group and recall_rank(m) is not None]
    return found or [table.metric]
