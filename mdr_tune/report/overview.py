"""Make one table of several sweeps with the same methods on different data, as in Table 1 of the paper."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.records.objectives import recall_rank
from mdr_tune.report.rows import AblationTable, Estimate


@dataclass(frozen=True)
class OverviewColumn:
    """A column of an overview: one metric, such as `test/recall_at_1`, of one sweep.

    `data` is the heading above the sweep's columns: the name of the data set. The sweep's name is added if several
    sweeps have this data set, and the protocol if not all sweeps of the overview have the same one.
    """

    sweep: str
    data: str
    metric: str


@dataclass(frozen=True)
class Overview:
    """A table with a row for each method, and a column for each sweep and metric.

    Attributes:
        methods: Method of each row, in the order of the sweeps' own tables.
        columns: Columns of the table. The columns of one sweep are adjacent.
        protocols: Protocol of each sweep, in the order of the columns: `validation` or `paper`, see `SweepFacts`.
        cells: Cells of each row. A cell is None if the sweep lacks the method, or if the method has no value there.
    """

    methods: list[str]
    columns: list[OverviewColumn]
    protocols: list[str]
    cells: list[list[Estimate | None]]


def overview(tables: Sequence[AblationTable]) -> Overview | None:
    """Return one table of several sweeps, with the Recall@K of each method; None if `tables` do not fit into one table.

    Tables do not fit if there is only one, if a table has two rows of the same method, or if no two share a method.
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
    """Return the metrics of `table` that an overview shows: Recall@K on the split on which rows are compared.

    If the table has no Recall@K, the only metric shown is the one in which rows are compared.
    """
    group = table.metric.split("/")[0]
    found = [m for m in table.metrics if m.split("/")[0] == group and recall_rank(m) is not None]
    return found or [table.metric]
