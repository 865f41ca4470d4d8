"""The HTML page: sound, alone, accessible, and with the table's numbers."""

import base64
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mdr_tune.report.output import texts
from mdr_tune.report.output.section import Section
from mdr_tune.report.output.texts import MINUS
from mdr_tune.report.overview import overview
from mdr_tune.report.page import SVG_BYTES, page
from mdr_tune.report.plots.drawing import ReportFigure
from tests.report.sections import HOSTILE, hostile_section, plain_section

VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}


class Parsed(HTMLParser):
    """A page's tags, attributes, text, and tables as lists of rows of cells; a tag left open is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def with_tag(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def section() -> Section:
    return plain_section()


@pytest.fixture(scope="module")
def parsed(section: Section) -> Parsed:
    return Parsed(page([section], "Ablation: ablation_demo"))


def test_the_values_are_the_tables(section: Section, parsed: Parsed) -> None:
    rows = parsed.tables[0][2:]
    assert len(rows) == len(section.table.rows) == 6
    for cells, row in zip(rows, section.table.rows, strict=True):
        assert cells[0] == f"{row.method}{row.setting} · {row.name}"
        assert cells[1].split()[0] == str(len(row.seeds))
        for cell, metric in zip(cells[2:], section.table.metrics, strict=True):
            estimate = row.estimates[metric]
            assert estimate.low is not None
            assert cell.lstrip("★") == f"{estimate.mean:.2f} ± {estimate.mean - estimate.low:.2f}"


def test_the_differences_are_the_tables(section: Section, parsed: Parsed) -> None:
    found = [(row, difference) for row in section.table.rows for difference in row.differences]
    assert len(parsed.tables[1][1:]) == len(found) > 0
    for cells, (row, difference) in zip(parsed.tables[1][1:], found, strict=True):
        estimate = difference.estimate
        plain = [cell.replace(MINUS, "-") for cell in cells]
        assert plain[0] == f"{row.method}{row.setting} · {row.name}"
        assert plain[1] == difference.label
        assert plain[2].endswith(difference.verdict)
        assert plain[3] == f"{estimate.mean:+.2f}"
        assert plain[4] == f"[{estimate.low:+.2f}, {estimate.high:+.2f}]"
        assert plain[5] == f"{estimate.n} seeds"


def test_one_star_a_column_on_the_highest_mean(section: Section, parsed: Parsed) -> None:
    for column, metric in enumerate(section.table.metrics, start=2):
        means = [row.estimates[metric].mean for row in section.table.rows]
        starred = [place for place, cells in enumerate(parsed.tables[0][2:]) if cells[column].startswith("★")]
        assert starred == [means.index(max(means))]


def test_what_was_run_and_what_failed(section: Section, parsed: Parsed) -> None:
    text = " ".join(data for _, data in parsed.texts)
    for part in ("torch 2.14.0", "c117c9e", "0, 1, 2", "launch.py --space", "17 completed, 1 diverged"):
        assert part in text
    assert parsed.tables[-1][1] == ["mdr-001.3", "diverged", "train/loss is not finite at epoch 3"]
    assert section.evidence.facts.sweep_file.strip() in text


def test_a_sweep_that_runs_says_so(section: Section) -> None:
    sweep = replace(section.evidence.sweep, status="RUNNING")
    running = replace(section, evidence=replace(section.evidence, sweep=sweep))
    assert "This sweep still runs, or was killed: MLflow has no end of it. 18 of 18" in page([running], "title")
    assert "still runs" not in page([section], "title")


def test_it_is_accessible(parsed: Parsed) -> None:
    assert parsed.with_tag("html") == [{"lang": "en"}]
    assert all("scope" in attributes for attributes in parsed.with_tag("th"))
    assert all(attributes.get("alt") for attributes in parsed.with_tag("img"))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    scrolling = [attributes for attributes in parsed.with_tag("div") if attributes.get("class") == "scroll"]
    assert scrolling
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)  # a keyboard can scroll them


def test_nothing_is_taken_from_elsewhere(section: Section, tmp_path: Path) -> None:
    small, large = _figure(tmp_path, "small", 100), _figure(tmp_path, "large", SVG_BYTES + 1)
    found = Parsed(page([replace(section, figures=[small, large])], "title"))
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in found.tags}
    references = [a[key] or "" for _, a in found.tags for key in ("src", "href", "srcset", "action") if key in a]
    assert [reference.split(",")[0] for reference in references] == [
        "data:image/svg+xml;base64",
        "data:image/png;base64",
    ]
    assert base64.b64decode(references[0].split(",")[1]) == small.svg.read_bytes()
    assert base64.b64decode(references[1].split(",")[1]) == large.png.read_bytes()
    style = "".join(data for tag, data in found.texts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a for a in found.with_tag("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")


def _figure(folder: Path, name: str, size: int) -> ReportFigure:
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    png.write_bytes(b"a png")
    svg.write_text("<svg>".ljust(size))
    return ReportFigure(name, f"{name} figure", "What is seen.", png, svg)


def test_what_users_write_is_text(tmp_path: Path) -> None:
    section = hostile_section()
    figure = replace(_figure(tmp_path, "small", 100), title=HOSTILE, caption=f'" onerror="x {HOSTILE}')
    both = [replace(section, figures=[figure]), section]
    found = Parsed(page(both, HOSTILE))
    assert "script" not in {tag for tag, _ in found.tags}
    assert not any(key.startswith("on") for _, attributes in found.tags for key in attributes)
    assert ("title", HOSTILE) in found.texts
    assert ("pre", HOSTILE) in found.texts


def test_several_sweeps_have_a_place_each(section: Section) -> None:
    other = replace(section, slug="other")
    found = Parsed(page([section, other], "title"))
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert ids == ["ablation_demo", "other"]
    assert [a["href"] for a in found.with_tag("a")] == ["#ablation_demo", "#other"]


def test_a_table_without_rows_is_left_out(section: Section) -> None:
    empty = replace(section, table=replace(section.table, rows=[], notes=[]))
    found = Parsed(page([empty], "title"))
    assert len(found.tables) == 1  # the failed trials


def test_a_name_breaks_after_an_underscore(section: Section) -> None:
    rows = [replace(row, method="multi_similarity<b> + MDR") for row in section.table.rows]
    text = page([replace(section, table=replace(section.table, rows=rows))], "title")
    assert "multi_<wbr>similarity&lt;b&gt; + MDR<span" in text


def test_what_a_newcomer_must_know_is_below_the_first_table_alone(section: Section) -> None:
    told = texts.glossary([row.method for row in section.table.rows])
    empty = replace(section, slug="empty", table=replace(section.table, rows=[], notes=[]))
    text = page([empty, section, replace(section, slug="again")], "title")
    assert text.count(told) == 1
    assert text.index('id="ablation_demo"') < text.index(told) < text.index('id="again"')
    one_row_each = replace(section.table, rows=[row for row in section.table.rows if row.name.endswith("-002")])
    both = overview([replace(one_row_each, data="cub"), replace(one_row_each, data="cars")])
    text = page([section, replace(section, slug="again")], "title", both)
    assert text.count(told) == 1
    assert text.index(told) < text.index('id="ablation_demo"')
