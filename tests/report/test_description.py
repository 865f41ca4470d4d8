"""The description of an ablation's run."""

from dataclasses import replace

import pytest

from mdr_tune.report.description import ROOM, ablation_description
from mdr_tune.report.output import texts
from mdr_tune.report.rows import AblationTable
from tests.report.make_evidence import make_evidence
from tests.report.plots.plain_table import plain_table

SENTENCES = ["Best: a_b.", "MDR gains."]


@pytest.fixture(scope="module")
def table() -> AblationTable:
    return plain_table(make_evidence())


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("validation", "best epochs chosen on validation classes"),
        ("paper", "best epochs chosen on the test classes, as the authors do"),
    ],
)
def test_it_says_on_which_classes_was_chosen_above_the_table_and_beside_the_winner(
    table: AblationTable, protocol: str, said: str
) -> None:
    lines = ablation_description(replace(table, protocol=protocol), SENTENCES, "import mlflow").splitlines()
    assert lines[:5] == [
        "### Best: a\\_b.",
        "",
        "- MDR gains.",
        "",
        f"glyphs, percent, {said}. Means of 2 to 3 training seeds. ± is half of the 95 % t-interval over the seeds.",
    ]
    assert lines[-5:] == [
        f"Load the winner ({said}; first seed of the best mean):",
        "",
        "```python",
        "import mlflow",
        "```",
    ]


def test_its_rows_are_the_tables(table: AblationTable) -> None:
    text = ablation_description(table, SENTENCES, None)
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(table.rows)
    for line, row in zip(rows, table.rows, strict=True):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells[0] == row.name.replace("_", r"\_")
        assert cells[3] == texts.seeds(row, table.metric)
        assert cells[4] == texts.value(row.estimates[table.metric])
        for difference in row.differences:
            assert f"{texts.signed(difference.estimate.mean)} " in cells[5]
            assert difference.verdict in cells[5]
    assert "Load the winner" not in text


def test_of_many_rows_those_that_fit_are_shown_and_the_others_counted(table: AblationTable) -> None:
    many = replace(table, rows=table.rows * 50)
    text = ablation_description(many, SENTENCES, "import mlflow")
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len("\n".join(rows)) <= ROOM
    assert f"{300 - len(rows)} further rows: in the report." in text
    assert len(text) < 5000
