"""LaTeX tables: escaped, balanced, with the table's numbers, and compiled where LaTeX is installed."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mdr_tune.report.output.latex import escape, latex, overview_latex
from mdr_tune.report.output.section import Section
from mdr_tune.report.overview import overview
from tests.report.sections import HOSTILE, hostile_section, plain_section


@pytest.fixture(scope="module")
def section() -> Section:
    return plain_section()


def tabulars(text: str) -> list[list[list[str]]]:
    """Return the cells of the body of each table."""
    found = []
    for body in re.findall(r"\\midrule\n(.*?)\n\\bottomrule", text, re.DOTALL):
        found.append([re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in body.splitlines()])
    return found


def test_the_numbers_are_the_tables(section: Section) -> None:
    values, differences = tabulars(latex(section))
    rows = section.table.rows
    assert len(values) == len(rows)
    for cells, row in zip(values, rows, strict=True):
        assert cells[:3] == [row.setting, escape(row.method), str(len(row.seeds))]
        for cell, metric in zip(cells[3:], section.table.metrics, strict=True):
            estimate = row.estimates[metric]
            assert estimate.high is not None
            plain = cell.replace(r"\textbf{", "").replace("}", "")
            assert plain == rf"{estimate.mean:.2f} $\pm$ {estimate.high - estimate.mean:.2f}"
    found = [difference for row in rows for difference in row.differences]
    assert [cells[4] for cells in differences] == [f"{d.estimate.mean:+.2f}".replace("-", "$-$") for d in found]


def test_bold_is_for_what_seeds_separate_from_every_baseline(section: Section) -> None:
    verdicts = {row.name: {d.verdict for d in row.differences} for row in section.table.rows}
    bold = [name for name, cells in zip(verdicts, tabulars(latex(section))[0], strict=True) if r"\textbf" in str(cells)]
    assert bold == [name for name, found in verdicts.items() if found == {"better"}]
    assert 0 < len(bold) < len(verdicts)


def test_every_row_has_the_columns_that_are_declared(section: Section) -> None:
    for one in (section, hostile_section(), plain_section(seeds=1)):
        text = latex(one)
        for columns, rows in zip(re.findall(r"\\begin\{tabular\}\{(\w+)\}", text), tabulars(text), strict=True):
            assert {len(cells) for cells in rows} == {len(columns)}


@pytest.mark.parametrize("hostile", [HOSTILE, "a\\b", "{", "$x_1$", "100%", "\N{SNOWMAN}"])
def test_special_characters_are_escaped(hostile: str) -> None:
    text = escape(hostile)
    bare = re.sub(r"\\[a-zA-Z]+\{\}|\\[{}$&%#_]|\$(-|\\pm|\\times)\$|\{\[\}", "", text)
    assert not re.search(r"[\\{}$&%#_~^<>|\"]", bare)
    assert text.isascii()


def test_braces_are_balanced() -> None:
    text = re.sub(r"\\[{}]", "", latex(hostile_section()))
    assert text.count("{") == text.count("}")


def test_several_sweeps(section: Section) -> None:
    table = replace(section.table, rows=[row for row in section.table.rows if row.name.endswith("-002")])
    found = overview([replace(table, sweep="a_b", data="cub"), replace(table, sweep="c", data="cars")])
    assert found is not None
    (rows,) = tabulars(overview_latex(found))
    assert [cells[0] for cells in rows] == ["triplet + MDR", "triplet", r"triplet\_l2"]
    assert {len(cells) for cells in rows} == {1 + 2 * len(table.metrics)}
    assert r"\multicolumn{4}{c}{cub}" in overview_latex(found)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_it_compiles(tmp_path: Path) -> None:
    body = latex(hostile_section()) + latex(plain_section())
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "t.tex").write_text("\n".join([head, body, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
