"""Class centres and galleries: the places of t-SNE, and frames that tell right from wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mdr_tune.report.plots import class_centres as centres_module
from mdr_tune.report.plots.class_centres import class_centres, project, shared_classes
from mdr_tune.report.plots.galleries import RIGHT, WRONG, gallery_best, gallery_worst
from mdr_tune.report.style import GREEN, VERMILLION
from tests.report.make_evidence import make_evidence
from tests.report.plots.plain_table import plain_table

EVIDENCE = make_evidence()
TABLE = plain_table(EVIDENCE)


def test_centres_lie_where_t_sne_puts_them_alike_in_all_panels() -> None:
    drawing = class_centres(EVIDENCE, TABLE)
    assert drawing is not None
    assert "seed 0 of each row (triplet-002, triplet_l2-002, mdr-002)" in drawing.caption
    assert "no unit" in drawing.caption
    for axes, name in zip(drawing.figure.axes, ("triplet-002", "triplet_l2-002", "mdr-002"), strict=True):
        places = np.array([line.get_xydata()[0] for line in axes.lines])
        np.testing.assert_array_equal(places, project(EVIDENCE.details[name].centres))
    looks = [[(line.get_color(), line.get_marker()) for line in axes.lines] for axes in drawing.figure.axes]
    assert looks[0] == looks[1] == looks[2]
    assert len(set(looks[0])) == 20


def test_t_sne_keeps_groups_together() -> None:
    groups = np.repeat(np.eye(3) * 20, 10, axis=0)
    places = project((groups + np.random.default_rng(0).normal(size=groups.shape)).astype(np.float32))
    distance = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(30, np.inf))
    assert (distance.argmin(axis=1) // 10 == np.arange(30) // 10).all()


def test_a_seed_that_all_rows_have_is_drawn() -> None:
    details = {name: found for name, found in EVIDENCE.details.items() if name != "triplet-002"}
    drawing = class_centres(replace(EVIDENCE, details=details), TABLE)
    assert drawing is not None
    assert "seed 1 of each row (triplet-002.2, triplet_l2-002.2, mdr-002.2)" in drawing.caption


def test_centres_that_t_sne_cannot_place_are_left_out() -> None:
    def changed(centres: np.ndarray) -> Any:
        changes = {"centres": centres, "centre_labels": np.arange(len(centres))}
        return replace(EVIDENCE, details={name: replace(d, **changes) for name, d in EVIDENCE.details.items()})

    assert class_centres(changed(np.zeros((20, 16), np.float32)), TABLE) is None
    assert class_centres(changed(np.full((20, 16), np.nan, np.float32)), TABLE) is None
    assert class_centres(changed(np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)), TABLE) is None


def test_many_classes_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centres_module, "MOST_CLASSES", 12)
    first, second = EVIDENCE.details["mdr-002"], EVIDENCE.details["triplet-002"]
    found = shared_classes([first, second])
    assert len(set(found.tolist())) == 12
    assert (np.diff(found) > 0).all()
    assert shared_classes([second, first]).tolist() == found.tolist()
    drawing = class_centres(EVIDENCE, TABLE)
    assert drawing is not None
    assert "12 of 20 test classes" in drawing.caption


@pytest.mark.parametrize(("plot", "kind"), [(gallery_best, "best"), (gallery_worst, "worst")])
def test_frames_tell_right_from_wrong_by_colour_and_mark(plot: Any, kind: str) -> None:
    drawing = plot(EVIDENCE, TABLE)
    assert [axes.get_title(loc="left") for axes in drawing.figure.axes] == [
        "triplet + MDR, embedding size 64 (mdr-002, seed 0)",
        "triplet, embedding size 64 (triplet-002, seed 0)",
        "triplet_l2, embedding size 64 (triplet_l2-002, seed 0)",
    ]
    for axes, name in zip(drawing.figure.axes, ("mdr-002", "triplet-002", "triplet_l2-002"), strict=True):
        queries = [query for query in EVIDENCE.details[name].shown if query.kind == kind]
        pictures = [picture for query in queries for picture in (query.image, *query.neighbours)]
        for image, picture in zip(axes.images, pictures, strict=True):
            np.testing.assert_array_equal(image.get_array()[..., 1], picture.pixels[0])
        right = [n.label == query.image.label for query in queries for n in query.neighbours]
        frames = [frame for frame in axes.patches if frame.get_linewidth() > 2]
        assert [to_hex(frame.get_edgecolor()) for frame in frames] == [
            (GREEN if is_right else VERMILLION).lower() for is_right in right
        ]
        assert [frame.get_linestyle() == "-" for frame in frames] == right
        marks = [text.get_text() for text in axes.texts if text.get_text() in (RIGHT, WRONG)]
        assert marks == [RIGHT if is_right else WRONG for is_right in right]
        scores = [text.get_text() for text in axes.texts if text.get_text().startswith("AP")]
        assert scores == [f"AP {100 * query.score:.0f} %" for query in queries]


def test_every_row_has_as_many_queries_and_the_caption_says_whose_they_are() -> None:
    first = EVIDENCE.details["triplet-002"]
    one_best = next(query for query in first.shown if query.kind == "best")
    fewer = EVIDENCE.details | {"triplet-002": replace(first, shown=[one_best])}
    drawing = gallery_best(replace(EVIDENCE, details=fewer), TABLE)
    assert drawing is not None
    scores = [[text for text in axes.texts if text.get_text().startswith("AP")] for axes in drawing.figure.axes]
    assert [len(found) for found in scores] == [1, 1, 1]
    assert "The queries are each row's own" in drawing.caption
    assert "Left out" not in drawing.caption


def test_methods_that_the_gallery_leaves_out_are_named() -> None:
    without = {name: found for name, found in EVIDENCE.details.items() if not name.startswith("triplet_l2")}
    drawing = gallery_worst(replace(EVIDENCE, details=without), TABLE)
    assert drawing is not None
    assert len(drawing.figure.axes) == 2
    assert drawing.caption.endswith(" Left out: triplet_l2.")
    many = [replace(row, method=f"loss_{i}", differences=[]) for i, row in enumerate([TABLE.rows[2]] * 8)]
    drawing = gallery_worst(EVIDENCE, replace(TABLE, rows=[*TABLE.rows, *many]))
    assert drawing is not None
    assert drawing.caption.endswith(" Left out: loss_0, loss_1, loss_2, loss_3, loss_4, loss_5 and 2 more.")
