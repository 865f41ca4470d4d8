"""Write the report as one HTML page that needs no network and no script. Its figures are embedded."""

import base64
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdr_tune.records.metrics import metric_label
from mdr_tune.report.names import full_title
from mdr_tune.report.output import texts
from mdr_tune.report.output.section import Section
from mdr_tune.report.output.what_was_run import failed_trials, how_the_numbers_were_made, incomplete, what_was_run
from mdr_tune.report.overview import Overview
from mdr_tune.report.plots.drawing import ReportFigure
from mdr_tune.report.rows import AblationTable, Row

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("page.html.j2")
SVG_BYTES = 200_000
"""Largest size, in bytes, of an SVG that is embedded in the page. A figure with a larger one is embedded as PNG."""
VERDICT_MARKS = {"better": "▲", "worse": "▼", "not separated": "≈", "not known": "?"}
"""Symbol of each verdict, so that readers can recognise a verdict without its colour."""


def page(
    sections: Sequence[Section],
    title: str,
    overview: Overview | None = None,
    made: datetime.datetime | None = None,
) -> str:
    """Return the report as an HTML page called `title`, with a part for each of `sections`.

    All text that comes from users is escaped. `overview` is a table of several sweeps, if there is one. `made` is the
    time at which the report was made, by default now.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template(TEMPLATE.name).render(
        title=title,
        made=f"{made or datetime.datetime.now():%Y-%m-%d %H:%M}",
        overview=None if overview is None else _overview(overview),
        glossary=texts.glossary(overview.methods if overview else [row.method for row in _first_rows(sections)]),
        first=next((section.slug for section in sections if section.table.rows), None) if overview is None else None,
        sections=[_section(section) for section in sections],
        marks=VERDICT_MARKS,
    )


def _first_rows(sections: Sequence[Section]) -> list[Row]:
    return next((section.table.rows for section in sections if section.table.rows), [])


def _overview(overview: Overview) -> dict[str, Any]:
    return {
        "caption": texts.overview_caption(overview),
        "groups": texts.overview_groups(overview),
        "titles": [metric_label(column.metric) for column in overview.columns],
        "rows": texts.overview_rows(overview),
    }


def _section(section: Section) -> dict[str, Any]:
    evidence, table = section.evidence, section.table
    return {
        "slug": section.slug,
        "name": section.name,
        "state": incomplete(evidence),
        "sentences": section.sentences,
        "caption": texts.caption(table),
        "splits": texts.splits(table.metrics),
        "titles": [metric_label(metric) for metric in table.metrics],
        "rows": _rows(table),
        "metric": full_title(table.metric),
        "has_separated": any(map(texts.is_separated, table.rows)),
        "has_differences": bool(texts.differences_of(table)),
        "differences_caption": texts.differences_caption(table),
        "difference_titles": texts.DIFFERENCE_TITLES,
        "notes": table.notes,
        "figures": [
            {"title": figure.title, "caption": figure.caption, "source": _data_uri(figure)}
            for figure in section.figures
        ],
        "facts": what_was_run(evidence),
        "how": how_the_numbers_were_made(evidence, table),
        "seeds_title": texts.seeds_title(table).capitalize(),
        "failed": failed_trials(evidence),
        "sweep_file": evidence.facts.sweep_file,
    }


def _rows(table: AblationTable) -> list[dict[str, Any]]:
    best = texts.highest(table)
    return [
        {
            "method": row.method,
            "setting": row.setting,
            "name": row.name,
            "seeds": texts.seeds(row, table.metric),
            "values": [_value(table, row, metric, best.get(metric) == row.name) for metric in table.metrics],
            "differences": [texts.difference_cells(difference) for difference in row.differences],
        }
        for row in table.rows
    ]


def _value(table: AblationTable, row: Row, metric: str, is_highest: bool) -> dict[str, Any] | None:
    estimate = row.estimates.get(metric)
    if estimate is None:
        return None
    return {
        "mean": texts.number(estimate.mean),
        "spread": texts.spread(estimate),
        "is_highest": is_highest,
        "is_separated": metric == table.metric and texts.is_separated(row),
    }


def _breakable(name: str) -> "Markup":
    """Return `name` as HTML in which a line may break after an underscore, but not within a word."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _data_uri(figure: ReportFigure) -> str:
    """Return `figure` as a data URI for an `img` element, so that the ids in two SVGs cannot clash."""
    is_small = figure.svg.stat().st_size <= SVG_BYTES
    file, kind = (figure.svg, "svg+xml") if is_small else (figure.png, "png")
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
