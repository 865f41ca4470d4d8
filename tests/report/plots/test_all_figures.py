"""All figures of a report: what is drawn and what is left out, and the files."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mdr_tune.records.query_details import ShownImage
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.plots.all_figures import FIGURES, draw
from mdr_tune.report.plots.drawing import ReportFigure
from mdr_tune.report.style import WIDTH, save, styled
from tests.report.make_evidence import make_evidence
from tests.report.plots.plain_table import plain_table

EVIDENCE = make_evidence()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[ReportFigure]:
    return draw(EVIDENCE, plain_table(EVIDENCE), tmp_path_factory.mktemp("figures") / "new")


def without(evidence: SweepEvidence, *prefixes: str) -> SweepEvidence:
    """Return the evidence without the metrics of the epochs that begin so."""
    trials = [
        replace(
            trial,
            record=replace(
                trial.record,
                history=[
                    {key: value for key, value in epoch.items() if not key.startswith(prefixes)}
                    for epoch in trial.record.history
                ],
            ),
        )
        for trial in evidence.sweep.trials
    ]
    return replace(evidence, sweep=replace(evidence.sweep, trials=trials))


def test_all_are_written_twice_with_words(drawn: list[ReportFigure]) -> None:
    assert [figure.name for figure in drawn] == list(FIGURES)
    for figure in drawn:
        assert (figure.png.name, figure.svg.name) == (f"{figure.name}.png", f"{figure.name}.svg")
        assert figure.title
        assert figure.caption.endswith(".")
        with Image.open(figure.png) as image:
            assert image.width == round(150 * WIDTH)
            assert len(image.convert("RGB").getcolors(1_000_000) or []) > 20


def test_an_svg_refers_to_nothing_outside(drawn: list[ReportFigure]) -> None:
    for figure in drawn:
        text = figure.svg.read_text(encoding="utf-8")
        assert text.startswith("<svg")
        targets = [value for element in ElementTree.fromstring(text).iter() for key, value in element.attrib.items()
                   if key.endswith(("href", "src"))]  # fmt: skip
        assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
        addresses = set(re.findall(r"https?://[^\s\"<]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert "<text" not in text
        assert "<script" not in text


def test_the_same_evidence_gives_the_same_bytes(drawn: list[ReportFigure], tmp_path: Path) -> None:
    for first, second in zip(drawn, draw(EVIDENCE, plain_table(EVIDENCE), tmp_path), strict=True):
        assert first.svg.read_bytes() == second.svg.read_bytes()
        assert first.png.read_bytes() == second.png.read_bytes()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = {key: value for key, value in matplotlib.rcParams.items() if not key.startswith("backend")}
    evidence = without(replace(EVIDENCE, details={}), "mdr/")
    draw(evidence, plain_table(evidence), tmp_path)
    assert before == {key: value for key, value in matplotlib.rcParams.items() if not key.startswith("backend")}


@pytest.mark.parametrize(
    ("lacking", "prefixes", "details"),
    [
        ({"level_trajectories"}, ("mdr/level_",), True),
        ({"level_shares"}, ("mdr/held_",), True),
        ({"learning_curves"}, ("val/", "curves/"), True),
        ({"class_centres", "gallery_best", "gallery_worst"}, ("none/",), False),
    ],
)
def test_a_figure_without_data_is_left_out(lacking: set[str], prefixes: tuple[str, ...], details: bool) -> None:
    evidence = without(EVIDENCE, *prefixes)
    evidence = evidence if details else replace(evidence, details={})
    assert lacking == {name for name in FIGURES if FIGURES[name](evidence, plain_table(evidence)) is None}


def test_nothing_but_a_table_without_rows_gives_no_figure() -> None:
    assert not any(plot(EVIDENCE, replace(plain_table(EVIDENCE), rows=[])) for plot in FIGURES.values())


def test_validation_alone_has_the_figures_that_need_no_test_classes() -> None:
    table = plain_table(EVIDENCE)
    rows = [replace(row, estimates={"val/best_recall_at_1": row.estimates[table.metric]}) for row in table.rows]
    table = replace(table, rows=rows, metric="val/best_recall_at_1", metrics=["val/best_recall_at_1"])
    found = {name: plot(replace(EVIDENCE, details={}), table) for name, plot in FIGURES.items()}
    assert {name for name, drawing in found.items() if drawing is None} == {
        "recall_at_k",
        "class_centres",
        "gallery_best",
        "gallery_worst",
    }
    assert found["by_setting"] is not None
    assert found["by_setting"].caption.startswith("Validation Recall@1 over the embedding size")


def test_one_seed_is_drawn_and_said(tmp_path: Path) -> None:
    evidence = make_evidence(seeds=1)
    figures = {figure.name: figure for figure in draw(evidence, plain_table(evidence), tmp_path)}
    assert list(figures) == list(FIGURES)
    assert "there are no error bars" in figures["by_setting"].caption
    assert "1 seed a row" in figures["learning_curves"].caption


def test_pictures_may_have_colours() -> None:
    details = dict(EVIDENCE.details)
    shown = [
        replace(query, image=ShownImage(3, np.stack([np.full((9, 9), value, np.uint8) for value in (200, 30, 30)])))
        for query in details["mdr-002"].shown
    ]
    details["mdr-002"] = replace(details["mdr-002"], shown=shown)
    drawing = FIGURES["gallery_best"](replace(EVIDENCE, details=details), plain_table(EVIDENCE))
    assert drawing is not None
    assert drawing.figure.axes[0].images[0].get_array().max(axis=(0, 1)).tolist() == [200, 30, 30]  # type: ignore[union-attr]


def test_save_is_what_draw_uses(tmp_path: Path) -> None:
    with styled():
        drawing = FIGURES["differences"](EVIDENCE, plain_table(EVIDENCE))
    assert drawing is not None
    assert [file.name for file in save(drawing.figure, tmp_path, "x")] == ["x.png", "x.svg"]
