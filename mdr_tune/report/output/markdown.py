"""The report in Markdown, for a repository, a pull request or a wiki. Its figures are files beside it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mdr_tune.records.metrics import metric_label
from mdr_tune.report.names import full_title
from mdr_tune.report.output import texts
from mdr_tune.report.output.section import Section
from mdr_tune.report.output.what_was_run import failed_trials, how_the_numbers_were_made, incomplete, what_was_run
from mdr_tune.report.overview import Overview


def escape(text: str) -> str:
    """Return `text` in one line, with every character escaped that Markdown or HTML would interpret."""
    return re.sub(r"([\\`*_<>#|~&$]|\](?=[(\[:]))", r"\\\1", " ".join(text.split()))


def table_lines(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int) -> list[str]:
    """Return the lines of a Markdown table with the column `titles` and the cells of `rows`. All texts are escaped.

    Columns from the index `numbers_from` on, counted from 0, are aligned to the right.
    """
    rules = ["---" if column < numbers_from else "---:" for column in range(len(titles))]
    cells = [[escape(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [[escape(title) for title in titles], rules, *cells]]


def markdown(sections: Sequence[Section], title: str, overview: Overview | None = None) -> str:
    """Return the whole report under the heading `title`, with a part for each of `sections`.

    `overview` is a table of several sweeps, if there is one.
    """
    blocks = [[f"# {escape(title)}"]]
    if overview is not None:
        titles = ["method", *(f"{c.data}: {metric_label(c.metric)}" for c in overview.columns)]
        blocks += [[escape(texts.overview_caption(overview))], table_lines(titles, texts.overview_rows(overview), 1)]
        blocks.append([escape(texts.glossary(overview.methods))])
    first = next((section for section in sections if section.table.rows), None) if overview is None else None
    for section in sections:
        blocks += _section(section, "##" if len(sections) > 1 else "", section is first)
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _section(section: Section, heading: str, is_first: bool) -> list[list[str]]:
    evidence, table = section.evidence, section.table
    under = heading + "#" if heading else "##"
    blocks = [[f"{heading} {escape(section.name)}"]] if heading else []
    blocks.append([escape(sentence) for sentence in filter(None, [incomplete(evidence)])])
    blocks.append([" ".join(map(escape, section.sentences))])
    if table.rows:
        blocks += [[escape(texts.caption(table))], _values(section)]
    if table.rows and is_first:
        blocks.append([escape(texts.glossary([row.method for row in table.rows]))])
    if texts.differences_of(table):
        blocks += [[escape(texts.differences_caption(table))], _differences(section)]
    blocks.append([f"- {escape(note)}" for note in table.notes])
    if section.figures:
        blocks.append([f"{under} Figures"])
        blocks += [_figure(section, figure.title, figure.caption, figure.png) for figure in section.figures]
    blocks += [
        [f"{under} What was run"],
        [f"- {name}: {escape(text)}" for name, text in what_was_run(evidence)],
    ]
    failed = failed_trials(evidence)
    if failed:
        blocks += [
            [f"{under} Trials that did not run to their end"],
            table_lines(("trial", "outcome", "why"), failed, 3),
        ]
    blocks += [
        [f"{under} How the numbers were made"],
        [f"- {escape(sentence)}" for sentence in how_the_numbers_were_made(evidence, table)],
        [f"{under} The sweep file"],
        _code(evidence.facts.sweep_file),
    ]
    return blocks


def _values(section: Section) -> list[str]:
    table = section.table
    names = texts.name_titles(table)
    titles = [*names, texts.seeds_title(table), *(full_title(metric) for metric in table.metrics)]
    best = texts.highest(table)
    rows = []
    for row in table.rows:
        cells = [*texts.name_cells(table, row), texts.seeds(row, table.metric)]
        for metric in table.metrics:
            mark = " ★" if best.get(metric) == row.name else ""
            cells.append(texts.value(row.estimates.get(metric)) + mark)
        rows.append(cells)
    return [*table_lines(titles, rows, len(names)), "", "★ highest mean of the column."]


def _differences(section: Section) -> list[str]:
    table = section.table
    titles = [*texts.name_titles(table), *texts.DIFFERENCE_TITLES]
    rows = [[*texts.name_cells(table, row), *texts.difference_cells(d)] for row, d in texts.differences_of(table)]
    return table_lines(titles, rows, len(texts.name_titles(table)) + 2)


def _figure(section: Section, title: str, caption: str, png: Path) -> list[str]:
    link = f"figures/{section.slug}/{png.name}"
    return [f"![{escape(title)}]({link})", "", f"*{escape(title)}.* {escape(caption)}"]


def _code(text: str) -> list[str]:
    """Return the lines of a code block with the YAML `text`. Its fence is longer than any backtick run in `text`."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}yaml", *text.rstrip("\n").splitlines(), fence]
