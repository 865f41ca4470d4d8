"""The table of trials in Markdown, for the description of a sweep in the MLflow UI."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.util.words import count

ROOM = 3500
"""Characters that the rows may take: MLflow's stores take 5000 of a description, and it says more than the table."""


@dataclass(frozen=True)
class Row:
    """One line of the table of trials. Qualities are in percent."""

    name: str
    outcome: str
    epochs: int
    best_epoch: int
    validation: float
    test: float | None
    parameters: str
    seeds: int = 1
    """Number of seeds whose mean `validation` is."""


def trial_table(rows: Sequence[Row], value_title: str, test_title: str) -> list[str]:
    """Return the lines of the table; of a long one the first rows, and how many are not shown.

    Args:
        rows: What `summary.table_rows` returned.
        value_title: Of the column by which trials are chosen.
        test_title: Of the column of the test values.
    """
    several = any(row.seeds > 1 for row in rows)
    titles = ["trial", "outcome", "epochs", *(["seeds"] if several else []), value_title, test_title, "parameters"]
    body = []
    for row in rows:
        seeds = [str(row.seeds)] if several else []
        test = "" if row.test is None else f"{row.test:.2f}"
        cells = [row.name, row.outcome, str(row.epochs), *seeds, f"{row.validation:.2f}", test, row.parameters]
        body.append(_line(cells))
    head = [_line(titles), "|" + " --- |" * len(titles)]
    return head + cut_to_room(body, "`mdr-tune leaderboard` shows all trials")


def cut_to_room(rows: Sequence[str], where: str) -> list[str]:
    """Return the lines of a table's rows; of many the first ones, and how many are not shown.

    Args:
        where: Says where the others are.
    """
    left = ROOM
    for number, row in enumerate(rows):
        left -= len(row) + 1
        if left < 0:
            return [*rows[:number], "", f"{count(len(rows) - number, 'further row')}: {where}."]
    return list(rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
