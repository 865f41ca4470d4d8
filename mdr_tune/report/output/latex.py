"""Tables of a report in LaTeX with booktabs. Bold means that a row is significantly better than all its baselines."""

from mdr_tune.records.metrics import metric_label
from mdr_tune.report.names import full_title
from mdr_tune.report.output import texts
from mdr_tune.report.output.section import Section
from mdr_tune.report.overview import Overview
from mdr_tune.report.rows import AblationTable, Estimate, Row

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    "±": r"$\pm$",
    texts.MINUS: "$-$",
    texts.NONE: "--",
}


def escape(text: str) -> str:
    """Return `text` with LaTeX's special characters escaped. Characters that usual fonts may lack become `?`."""
    return "".join(_SPECIAL.get(character, character if _is_plain(character) else "?") for character in text)


def _is_plain(character: str) -> bool:
    """Return whether LaTeX's usual fonts have `character`: ASCII, and letters of western Europe."""
    return " " <= character < "\x7f" or (character.isalpha() and character < "\u0100")


def latex(section: Section) -> str:
    """Return the LaTeX of `section`: its table of values and, if there are differences, its table of differences."""
    table = section.table
    parts = ["% needs \\usepackage{booktabs}", _values(section)]
    if texts.differences_of(table):
        parts.append(_differences(section))
    return "\n\n".join(parts) + "\n"


def overview_latex(overview: Overview) -> str:
    """Return the LaTeX of `overview`, which is one table of several sweeps."""
    heads, rules = _groups(texts.overview_groups(overview), 2)
    titles = ["method", *(metric_label(column.metric) for column in overview.columns)]
    rows = [_line([*map(escape, row)]) for row in texts.overview_rows(overview)]
    lines = [_line(["", *heads]), rules, _line([*map(escape, titles)]), r"\midrule", *rows]
    return _float(lines, "l" + "r" * len(overview.columns), texts.overview_caption(overview), "tab:overview") + "\n"


def _groups(groups: list[tuple[str, int]], first: int) -> tuple[list[str], str]:
    """Return the LaTeX headings above groups of columns, and the LaTeX for the lines below these headings.

    `groups` has the title and the number of columns of each group. The first group begins at column `first`, from 1.
    """
    heads, rules = [], []
    for name, width in groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return heads, "".join(rules)


def _values(section: Section) -> str:
    table = section.table
    names = texts.name_titles(table)
    heads, rules = _groups(texts.splits(table.metrics), len(names) + 2)
    titles = [*names, "$n$", *(escape(metric_label(metric)) for metric in table.metrics)]
    lines = [_line([""] * (len(names) + 1) + heads), rules, _line(titles), r"\midrule"]
    for row in table.rows:
        values = [
            _value(row.estimates.get(metric), metric == table.metric and texts.is_separated(row))
            for metric in table.metrics
        ]
        lines.append(_line([*map(escape, texts.name_cells(table, row)), escape(_n(section.table, row)), *values]))
    caption = f"{section.name}: {texts.caption(table)}"
    bold = f" Bold: better than each baseline by {full_title(table.metric)}, Holm-corrected p at most 0.05."
    if any(texts.is_separated(row) for row in table.rows):
        caption += bold
    return _float(lines, "l" * len(names) + "r" * (1 + len(table.metrics)), caption, f"tab:{section.slug}")


def _n(table: AblationTable, row: Row) -> str:
    return texts.counted(table, row) if table.is_evaluation else str(texts.seeds_in(row, table.metric))


def _value(estimate: Estimate | None, bold: bool) -> str:
    if estimate is None:
        return "--"
    mean, spread = escape(texts.number(estimate.mean)), escape(texts.spread(estimate))
    return " ".join(filter(None, (rf"\textbf{{{mean}}}" if bold else mean, spread)))


def _differences(section: Section) -> str:
    table = section.table
    names = texts.name_titles(table)
    titles = [*names, *texts.difference_titles(table)]
    rows = [[*texts.name_cells(table, row), *texts.cells_of(table, d)] for row, d in texts.differences_of(table)]
    lines = [_line([*map(escape, titles)]), r"\midrule", *(_line([*map(escape, row)]) for row in rows)]
    caption = f"{section.name}: {texts.differences_caption(table)}"
    return _float(
        lines,
        "l" * len(names) + ("llrccr" if table.is_evaluation else "llrcrrr"),
        caption,
        f"tab:{section.slug}-differences",
    )


def _line(cells: list[str]) -> str:
    """Return a row of a LaTeX table with these `cells`.

    LaTeX would take a bracket at the start of a row for an argument of the `\\\\` before it. An empty group is put
    before such a bracket.
    """
    line = " & ".join(cells)
    return ("{}" if line.startswith("[") else "") + line + r" \\"


def _float(lines: list[str], columns: str, caption: str, label: str) -> str:
    """Return a LaTeX `table` of the rows `lines`, aligned by `columns`, such as `lrr`. Only `caption` is escaped."""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\small",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )
