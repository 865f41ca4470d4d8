"""The Markdown report: whole tables, links to files, nothing of the user's taken for markup."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mdr_tune.report.output import texts
from mdr_tune.report.output.markdown import escape, markdown
from mdr_tune.report.output.section import Section
from mdr_tune.report.output.texts import MINUS
from mdr_tune.report.overview import overview
from mdr_tune.report.plots.drawing import ReportFigure
from tests.report.sections import HOSTILE, hostile_section, plain_section


@pytest.fixture(scope="module")
def section() -> Section:
    return plain_section()


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each table, its titles first and the rule left out."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not set("".join(cells)) <= set("-: "):
                found[-1].append(cells)
        elif found[-1]:
            found.append([])
    return found[:-1]


def test_the_numbers_are_the_tables(section: Section) -> None:
    values, differences, failed = tables(markdown([section], "title"))
    assert values[0][3:] == [f"test Recall@{k}" for k in (1, 2, 4, 8)]
    for cells, row in zip(values[1:], section.table.rows, strict=True):
        assert cells[0] == row.setting
        for cell, metric in zip(cells[3:], section.table.metrics, strict=True):
            assert cell.split(" ")[0] == f"{row.estimates[metric].mean:.2f}"
    found = [difference for row in section.table.rows for difference in row.differences]
    for cells, difference in zip(differences[1:], found, strict=True):
        assert cells[3] == difference.verdict
        assert cells[4].replace(MINUS, "-") == f"{difference.estimate.mean:+.2f}"
    assert failed[1] == ["mdr-001.3", "diverged", "train/loss is not finite at epoch 3"]


def test_tables_are_whole(section: Section) -> None:
    for one in (section, hostile_section()):
        for rows in tables(markdown([one, one], "title")):
            assert len({len(cells) for cells in rows}) == 1


def test_nothing_is_markup() -> None:
    text = markdown([hostile_section()], HOSTILE)
    before_the_file = text[: text.index("The sweep file")]
    assert "<script" not in before_the_file.replace(r"\<script", "")
    assert "](y)" not in before_the_file.replace(r"\](y)", "")
    assert escape("a\n# b") == r"a \# b"


def test_a_fence_is_longer_than_any_in_the_file(section: Section) -> None:
    facts = replace(section.evidence.facts, sweep_file="a: |\n  ````\nb: 1\n")
    text = markdown([replace(section, evidence=replace(section.evidence, facts=facts))], "title")
    assert text.endswith("`````yaml\na: |\n  ````\nb: 1\n`````\n")


def test_figures_are_linked_where_they_are(section: Section, tmp_path: Path) -> None:
    figure = ReportFigure("levels", "Levels", "Seen.", tmp_path / "levels.png", tmp_path / "levels.svg")
    text = markdown([replace(section, figures=[figure])], "title")
    assert "![Levels](figures/ablation_demo/levels.png)" in text


def test_several_sweeps_begin_with_the_overview(section: Section) -> None:
    table = replace(section.table, rows=[row for row in section.table.rows if row.name.endswith("-002")])
    both = [replace(table, data="cub"), replace(table, data="cars")]
    rows = tables(markdown([section, section], "title", overview(both)))[0]
    assert rows[0][1] == "cub: Recall@1"
    assert rows[1][1].split(" ")[0] == f"{table.rows[0].estimates['test/recall_at_1'].mean:.2f}"


def test_what_a_newcomer_must_know_is_below_the_first_table_alone(section: Section) -> None:
    told = escape(texts.glossary([row.method for row in section.table.rows]))
    empty = replace(section, table=replace(section.table, rows=[], notes=[]))
    text = markdown([empty, section, replace(section, slug="again")], "title")
    assert text.count(told) == 1
    assert text.index("highest mean of the column") < text.index(told) < text.index(escape("Differences in points"))
    table = replace(section.table, rows=[row for row in section.table.rows if row.name.endswith("-002")])
    both = overview([replace(table, data="cub"), replace(table, data="cars")])
    text = markdown([section, section], "title", both)
    assert text.count(told) == 1
    assert text.index(told) < text.index("## ablation")
