"""CSV and Parquet: the same rows, unrounded, and enough in them to compute the table again."""

import csv
import statistics
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.output.data_files import Rows, difference_rows, trial_rows, value_rows, write_rows
from mdr_tune.report.output.section import Section
from tests.report.sections import HOSTILE, hostile_section, plain_section


@pytest.fixture(scope="module")
def section() -> Section:
    return plain_section()


def every_kind(section: Section) -> list[Rows]:
    table = section.table
    return [value_rows(table), difference_rows(table), trial_rows(section.evidence, table)]


def test_both_files_have_the_rows(section: Section, tmp_path: Path) -> None:
    for one in (section, hostile_section()):
        for rows in every_kind(one):
            as_csv, as_parquet = write_rows(rows, tmp_path, "t")
            assert pyarrow.parquet.read_table(as_parquet).to_pylist() == rows
            with as_csv.open(newline="") as file:
                read = list(csv.DictReader(file))
            texts = [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
            assert read == texts


def test_values_are_the_tables(section: Section) -> None:
    rows = value_rows(section.table)
    assert len(rows) == 6 * 4
    by_name = {row.name: row for row in section.table.rows}
    for row in rows:
        estimate = by_name[str(row["configuration"])].estimates[str(row["metric"])]
        assert (row["mean"], row["low"], row["high"], row["n"]) == (
            estimate.mean,
            estimate.low,
            estimate.high,
            estimate.n,
        )


def test_the_table_can_be_computed_from_the_trials(section: Section) -> None:
    trials = trial_rows(section.evidence, section.table)
    assert len(trials) == 18
    for row in value_rows(section.table):
        own = [t for t in trials if t["configuration"] == row["configuration"] and t["outcome"] == "completed"]
        values = {t["seed"]: t[str(row["metric"])] for t in own}
        assert statistics.fmean(float(value or 0) for value in values.values()) == pytest.approx(row["mean"])
    assert {trial["parameter:embedding.size"] for trial in trials} == {32, 64}


def test_differences_have_p_and_verdict(section: Section) -> None:
    found = [difference for row in section.table.rows for difference in row.differences]
    rows = difference_rows(section.table)
    assert [(r["mean"], r["p"], r["p_holm"], r["verdict"]) for r in rows] == [
        (d.estimate.mean, d.p, d.p_holm, d.verdict) for d in found
    ]


def test_values_of_mixed_kinds_become_text_and_no_rows_no_file(tmp_path: Path) -> None:
    _, as_parquet = write_rows([{"a": 1, "b": None}, {"a": HOSTILE, "b": 2.5}], tmp_path, "mixed")
    assert pyarrow.parquet.read_table(as_parquet).to_pylist() == [{"a": "1", "b": None}, {"a": HOSTILE, "b": 2.5}]
    assert write_rows([], tmp_path, "none") == []
    assert not list(tmp_path.glob("none*"))


def test_values_and_differences_say_on_which_classes_epochs_were_chosen(section: Section, tmp_path: Path) -> None:
    for protocol in ("validation", "paper"):
        table = replace(section.table, protocol=protocol)
        for rows in (value_rows(table), difference_rows(table)):
            as_csv, _ = write_rows(rows, tmp_path, "t")
            with as_csv.open(newline="") as file:
                assert {row["protocol"] for row in csv.DictReader(file)} == {protocol}


def test_trials_of_a_grid_that_varies_the_seed_have_the_setting_of_their_row() -> None:
    """There each seed is a configuration of its own, and a row is named by its first."""
    evidence = plain_section().evidence
    own_names = {trial.record.name: f"{trial.record.arm}-{i:03d}" for i, trial in enumerate(evidence.sweep.trials)}
    trials = []
    for trial in evidence.sweep.trials:
        record, parameters = trial.record, {**trial.record.parameters, "seed": trial.record.seed}
        trials.append(replace(trial, record=replace(record, name=own_names[record.name], parameters=parameters)))
    details = {own_names[name]: found for name, found in evidence.details.items()}
    varied = replace(evidence, sweep=replace(evidence.sweep, trials=trials), details=details)
    table = ablation_table(varied)
    assert len(table.rows) == 6
    settings = [(row["method"], row["setting"]) for row in trial_rows(varied, table)]
    assert sorted(settings) == sorted((row.method, row.setting) for row in table.rows for _ in row.trials)
