"""The descriptions of runs and registered models."""

from dataclasses import replace

import pytest

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord
from mdr_tune.report.description import ROOM, ablation_description, trial_description, version_description
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


def make_trial(outcome: Outcome, recalls: list[float], error: str | None = None) -> TrialRecord:
    config = TrialConfig.model_validate({"epochs": 4, "seed": 2}).model_dump()
    history = [{"epoch": float(epoch), "val/recall_at_1": recall} for epoch, recall in enumerate(recalls, 1)]
    drawn = {"mdr.levels.count": 3, "loss.margin": 0.25}
    return TrialRecord("mdr-001.3", "mdr", 0, drawn, config, 2, history, outcome, error)


def test_a_trial_s_page_says_its_best_value_parameters_and_end() -> None:
    done = make_trial("completed", [50.0, 62.5, 60.0, 61.0])
    assert trial_description(done, "val/recall_at_1", {"test/recall_at_1": 57.125}).splitlines() == [
        "### validation Recall@1 62.50 in epoch 2, test Recall@1 57.12",
        "",
        "- mdr.levels.count 3, loss.margin 0.25",
        "- completed, 4 of 4 epochs trained, seed 2",
    ]
    failed = make_trial("failed", [], "Traceback:\n  ...\nValueError: no_such_thing\n")
    assert trial_description(failed, "val/recall_at_1").splitlines() == [
        "### no value of validation Recall@1",
        "",
        "- mdr.levels.count 3, loss.margin 0.25",
        "- failed, 0 of 4 epochs trained, seed 2: ValueError: no\\_such\\_thing",
    ]


def test_a_version_s_page_says_its_data_numbers_and_how_to_load_it() -> None:
    done = make_trial("completed", [50.0, 62.5])
    tests = {"mdr-001.3": {"test/recall_at_1": 57.0, "test/map_at_r": 20.0}}
    result = SweepResult("val/recall_at_1", [done], {"mdr": done}, tests=tests)
    lines = version_description(result, ["training 40 of 10 classes"], "import mlflow").splitlines()
    assert lines[:2] == [
        "- Weights: trial `mdr-001.3` (seed 2), epoch 2: validation Recall@1 62.50, test Recall@1 57.00",
        "- Images: glyphs, training 40 of 10 classes",
    ]
    assert lines[-3:] == ["```python", "import mlflow", "```"]
