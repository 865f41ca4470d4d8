"""What is looked at before the first worker starts, and what is said about it."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdr_tune.cli.launch import main
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.data import open_data
from mdr_tune.sweep.prepare import (
    check_data,
    left_to_launch,
    missing_data,
    naming,
    paths_of,
    prepare_data,
    resize_notes,
)
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.data.published.layouts import picture

LETTERS = "abcdefghijkl"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve classes of three images: 6 are for training, 2 for validation, 4 for the test."""
    for number, letter in enumerate(LETTERS):
        (tmp_path / "images" / letter).mkdir(parents=True)
        for index in range(3):
            picture(3 * number + index, (8, 8)).save(tmp_path / "images" / letter / f"{index}.png")
    return tmp_path / "images"


def sweep_of(data: dict[str, Any], metric: str = "val/recall_at_1", space: Any = None, **trial: Any) -> SweepConfig:
    """Return a sweep over images of 8 x 8 pixels, whose batches are small unless they are given."""
    small = {"resize": 8, "image_size": 8} if data["name"] != "glyphs" else {}
    trial = {"batch": {"size": 8, "images_per_class": 2}, "backbone": {"name": "resnet18", "weights": "none"}, **trial}
    return SweepConfig.model_validate(
        {"name": "a", "metric": metric, "trial": {**trial, "data": {**small, **data}}, "space": space or {}}
    )


def folder_of(images: Path) -> dict[str, Any]:
    return {"name": "folder", "root": str(images)}


def refused(sweep: SweepConfig) -> str:
    with pytest.raises(UserError) as caught:
        prepare_data(sweep, no_progress)
    return str(caught.value)


def test_the_note_on_resizing_names_the_keys() -> None:
    """timm's configuration says 224 pixels, crop_pct 0.9."""
    own = {"image_size": 224, "resize": 248, "interpolation": "bicubic"}
    assert resize_notes(sweep_of({"name": "cub200", **own}, backbone="timm.vit_small_patch16_224")) == []
    sweep = sweep_of({"name": "cub200", "image_size": 224, "resize": 256}, backbone="timm.vit_small_patch16_224")
    (note,) = resize_notes(sweep)
    assert note == (
        "trial.data: image_size 224, resize 256, interpolation lanczos; timm.vit_small_patch16_224 was made for "
        "image_size 224, resize 248, interpolation bicubic"
    )


def test_decoded_images_are_read_from_a_cache_that_can_only_be_read(
    images: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(small_disk))
    ways = [
        sweep_of({**folder_of(images), **keys}) for keys in ({}, {"cache": False}, {"resize": 9, "corrupt": "skip"})
    ]
    for way in ways[:2]:
        prepare_data(way, no_progress)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setattr(open_data, "_opened", {})  # as in another process
    for way in ways[:2]:
        prepare_data(way, no_progress)
    assert "Read-only file system" in refused(ways[2])


def test_nothing_is_missing_of_what_is_there(images: Path) -> None:
    (images / "list.csv").write_text("path,label\n")
    there: list[dict[str, Any]] = [
        {"name": "glyphs"},
        folder_of(images),
        {"name": "cub200", "root": str(images)},
        {"name": "table", "file": str(images / "list.csv")},
    ]
    assert [missing_data(sweep_of(data)) for data in there] == [[], [], [], []]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"name": "cub200", "root": "/no where"},
            "data.root: there is no /no where: run mdr-tune data prepare cub200 --root '/no where', or set root to "
            "where it is",
        ),
        ({"name": "folder", "root": "/nowhere"}, "data.root: there is no /nowhere: mend the path"),
        ({"name": "folder", "root": "/" + "long" * 99}, f"data.root: there is no /{'long' * 99}: mend the path"),
        ({"name": "table", "file": "/nowhere.csv"}, "data.file: there is no /nowhere.csv: mend the path"),
        ({"name": "table", "file": __file__, "root": "/nowhere"}, "data.root: there is no /nowhere: mend the path"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_missing_is_told_with_what_to_do(data: dict[str, Any], expected: str) -> None:
    assert missing_data(sweep_of(data)) == [expected]


@pytest.mark.parametrize("written", ["cafe\u0301", "caf\u00e9\u200b", "CAF\u00c9", "caf\u00e9\u00a0"])
def test_a_folder_that_is_there_in_other_characters_is_named(tmp_path: Path, written: str) -> None:
    (tmp_path / "caf\u00e9" / "images").mkdir(parents=True)
    (problem,) = missing_data(sweep_of({"name": "folder", "root": str(tmp_path / written / "images")}))
    assert problem.endswith(f"/images: there is '{tmp_path}/caf\\xe9/images': write it so")


def test_a_table_and_its_folder_may_both_be_missing() -> None:
    problems = missing_data(sweep_of({"name": "table", "file": "/a.csv", "root": "/b"}))
    assert [problem.split(":")[0] for problem in problems] == ["data.root", "data.file"]


def test_paths_are_those_of_data_sets_and_of_own_weights() -> None:
    table = {"name": "table", "file": "/a.csv", "root": "/b"}
    space = {
        "backbone.weights": {"choice": ["none", "/w.pt"]},
        "data.resize": {"choice": [8, 10]},  # the same files
    }
    assert sorted(map(str, paths_of(sweep_of(table, space=space)))) == ["/a.csv", "/b", "/w.pt"]
    assert paths_of(sweep_of({"name": "glyphs"})) == []


def test_a_folder_that_all_folds_lack_is_told_once() -> None:
    data = {"name": "cars196", "root": "/nowhere", "validation": {"folds": 3}}
    sweep = sweep_of(data, space={"data.validation.fold": {"choice": [0, 1, 2]}})
    assert len(missing_data(sweep)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.root: there is none", "sweep.yaml: trial.data.root: there is none"),
        ("batch: too large", "sweep.yaml: trial.batch: too large"),
        ("metric: too high", "sweep.yaml: metric: too high"),
        ("data set: gone", "data set: gone"),
        ("no network", "no network"),
    ],
)
def test_a_key_is_told_with_its_file(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught, naming(Path("sweep.yaml")):
        raise UserError(text)
    assert str(caught.value) == expected


def test_other_errors_stay_what_they_are() -> None:
    error = ValueError("data.root: is no text")
    with pytest.raises(ValueError, match=r"^data\.root: is no text$") as caught, naming(Path("sweep.yaml")):
        raise error
    assert caught.value is error


def test_images_are_prepared_and_progress_names_the_data_set(images: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepare_data(sweep_of(folder_of(images)), lambda *progress: told.append(progress))
    assert told == [
        ("folder: reading image files", 0, 36),
        ("folder: reading image files", 36, 36),
        ("folder: decoding images (cache of 14.1 kB)", 0, 36),
        ("folder: decoding images (cache of 14.1 kB)", 36, 36),
    ]
    assert len(list((tmp_path / "cache" / "images").glob("folder-8px-*.arrow"))) == 1


def test_every_data_set_of_the_space_is_prepared(images: Path, tmp_path: Path) -> None:
    sizes = {"data.resize": {"choice": [8, 10]}}
    prepare_data(sweep_of(folder_of(images), space=sizes), no_progress)
    made = (path.name.split("-")[1] for path in (tmp_path / "cache" / "images").glob("*.arrow"))
    assert sorted(made) == ["10px", "8px"]


def test_a_batch_that_cannot_be_filled(images: Path) -> None:
    text = refused(sweep_of(folder_of(images), batch={"size": 19, "images_per_class": 4}))
    assert text.startswith("batch: does not fit the data set folder: 4 images from each of 6 classes make at most 18")
    assert text.endswith(". For a first try add --set trial.batch.size=18")
    prepare_data(sweep_of(folder_of(images), batch={"size": 18, "images_per_class": 4}), no_progress)


def test_a_batch_that_no_size_mends_has_no_advice_of_one(images: Path) -> None:
    assert "--set" not in refused(sweep_of(folder_of(images), batch={"size": 128, "images_per_class": 10}))


def test_the_file_for_own_images_runs_on_few_of_them_as_it_says(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(__file__).parents[2] / "search_spaces" / "own_images.yaml"
    weights = ("--set", "trial.backbone.weights=none")
    flags = ["--space", str(file), "--storage", str(tmp_path / "runs"), "--dry-run", *weights]
    flags += ["--set", f"trial.data.root={images}"]
    assert main(flags) == 2
    problem = capsys.readouterr().err.strip()
    advice = re.search(r"add (--set) (\S+)$", problem)
    assert advice is not None, problem
    assert main([*flags, *advice.groups()]) == 0


def test_the_batches_that_are_searched_are_those_that_count(images: Path) -> None:
    def searching(*sizes: int) -> SweepConfig:
        space = {"batch.size": {"choice": list(sizes)}}
        return sweep_of(folder_of(images), space=space, batch={"size": 128, "images_per_class": 3})

    prepare_data(searching(8, 18), no_progress)  # no trial has the 128
    text = refused(searching(8, 20))
    assert "which cannot fill a batch of 20" in text
    assert "--set" not in text


def test_with_the_authors_protocol_validation_classes_fill_batches_too(images: Path) -> None:
    def paper(size: int, rank: int = 1) -> SweepConfig:
        data = {**folder_of(images), "recall_at": [1, rank]}
        metric = f"curves/test_recall_at_{rank}"
        return sweep_of(data, metric, batch={"size": size, "images_per_class": 3}, protocol="paper")

    prepare_data(paper(24), no_progress)
    assert check_data(paper(24, rank=11))[0] == []  # of 12 test images, 11 others
    for refusing in (check_data, lambda sweep: prepare_data(sweep, no_progress)):
        with pytest.raises(UserError, match="8 classes make at most 24 images, which cannot fill a batch of 25"):
            refusing(paper(25))
    with pytest.raises(UserError, match=r"metric: curves/test_recall_at_12 needs 12 images .* test classes .* have 11"):
        check_data(paper(24, rank=12))


def test_what_is_listed_is_opened_without_listing_it_again(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_of(folder_of(images))
    check_data(sweep)
    with monkeypatch.context() as context:
        context.setattr("mdr_tune.data.own.folder.list_folder", lambda _: pytest.fail("listed again"))
        prepare_data(sweep, no_progress)
    other = sweep_of({**folder_of(images), "resize": 9})
    check_data(other)
    (images / "a" / "0.png").unlink()  # what has changed since then is missing, until it is listed anew
    assert refused(other).startswith("data.root: 1 of 36 images is missing")
    prepare_data(other, no_progress)


@pytest.mark.parametrize(("rank", "fits"), [(5, True), (6, False)])
def test_no_rank_beyond_what_can_be_retrieved(images: Path, rank: int, fits: bool) -> None:
    sweep = sweep_of({**folder_of(images), "recall_at": [1, rank]}, f"val/recall_at_{rank}")  # of 6 images, 5 others
    if fits:
        prepare_data(sweep, no_progress)
        return
    assert refused(sweep) == (
        "metric: val/recall_at_6 needs 6 images to retrieve, but the validation classes of folder have 5: choose a "
        "smaller rank, or hold out more classes (data.validation)"
    )


@pytest.fixture
def queries(images: Path) -> Callable[[int], SweepConfig]:
    """A table whose validation split has two queries and a gallery of four; a sweep over it, by the metric's rank."""
    lines = ["path,label,split,role"]
    for letter in LETTERS:
        split = {"k": "validation", "l": "validation", "j": "test"}.get(letter, "train")
        for index in range(3):
            role = ("query" if index == 0 else "gallery") if split == "validation" else ""
            lines.append(f"{letter}/{index}.png,{letter},{split},{role}")
    (images / "list.csv").write_text("\n".join(lines) + "\n")
    columns = {"file": str(images / "list.csv"), "split_column": "split", "role_column": "role"}
    return lambda rank: sweep_of({"name": "table", **columns, "recall_at": [rank]}, f"val/recall_at_{rank}")


def test_with_a_gallery_it_is_what_can_be_retrieved(queries: Callable[[int], SweepConfig]) -> None:
    prepare_data(queries(4), no_progress)
    assert "needs 5 images to retrieve, but the validation classes of table have 4" in refused(queries(5))


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [("alexnet", "at least"), ("vit_b_16", "of exactly 224x224 pixels, got (3, 8, 8)")],
)
def test_a_backbone_that_takes_other_images(images: Path, backbone: str, expected: str) -> None:
    text = refused(sweep_of(folder_of(images), backbone={"name": backbone, "weights": "none"}))
    assert text.startswith(f"backbone: {backbone} does not fit the data set folder: {backbone} takes ")
    assert expected in text


def test_one_backbone_of_several_that_takes_other_images(images: Path) -> None:
    space = {"backbone": {"choice": [{"name": "resnet18", "weights": "none"}, {"name": "vit_b_16", "weights": "none"}]}}
    assert refused(sweep_of(folder_of(images), space=space)).startswith("backbone: vit_b_16 does not fit")


def test_problems_of_the_images_name_their_key(images: Path) -> None:
    (images / "c" / "1.png").write_bytes(b"no image")
    assert refused(sweep_of(folder_of(images))).startswith("data.corrupt: 1 of 36 images cannot be decoded: c/1.png (")
    (images / "c" / "1.png").unlink()
    (images / "c" / "2.png").unlink()
    assert refused(sweep_of(folder_of(images))).startswith("data.single_image_classes: nothing to retrieve in 1 of 12")


def test_an_error_of_the_system_is_told_with_the_data_set(
    tmp_path: Path, glyph_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glyphs = sweep_of({"name": "glyphs"})
    monkeypatch.setenv("MDR_TUNE_CACHE", str(glyph_cache))
    prepare_data(glyphs, no_progress)
    (rendered,) = glyph_cache.glob("glyphs-*.arrow")
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / f"{rendered.name}.lock").mkdir(parents=True)
    assert refused(glyphs).startswith("data: glyphs cannot be prepared: [Errno 21] Is a directory")


def table_of(images: Path) -> dict[str, Any]:
    """Write a table of all images, and return its section."""
    paths = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    (images / "all.csv").write_text("".join(f"{line}\n" for line in ["path,label", *(f"{p},{p[0]}" for p in paths)]))
    return {"name": "table", "file": str(images / "all.csv")}


SOURCES = pytest.mark.parametrize("source", [folder_of, table_of])
TRAINED, TESTED = "a/0.png", "c/0.png"
COPIES = "data.duplicates: 2 of 36 images (2 classes) are copies of a file in another split: 'a/0.png' (train, a) = "
EQUAL = "data.duplicates: 2 of 36 images (2 classes) have the same pixels as another one, 2 of them (2 classes) as one"


def check_refuses(sweep: SweepConfig) -> str:
    with pytest.raises(UserError) as caught:
        check_data(sweep)
    return str(caught.value)


def save_again(images: Path) -> None:
    """Save a training image over a test image, as another file of the same pixels."""
    with Image.open(images / TRAINED) as image:
        image.save(images / TESTED, compress_level=0)


@SOURCES
def test_copies_in_two_splits_are_refused_before_anything_is_decoded(
    images: Path, tmp_path: Path, source: Callable[[Path], dict[str, Any]]
) -> None:
    shutil.copyfile(images / TRAINED, images / TESTED)
    data = source(images)
    for refusing in (check_refuses, refused):
        assert refusing(sweep_of(data)).startswith(COPIES)
    assert not list(tmp_path.glob("cache/images/*"))
    for sweep in (sweep_of({**data, "duplicates": "keep"}), sweep_of({**data, "corrupt": "skip"})):
        check_data(sweep)
    # Whether an image is used is then known only when all are decoded.
    assert refused(sweep_of({**data, "corrupt": "skip"})).startswith(EQUAL)


@SOURCES
@pytest.mark.parametrize("cache", [True, False])
def test_equal_pixels_in_two_splits_are_refused_before_a_launch_once_they_are_decoded(
    images: Path, source: Callable[[Path], dict[str, Any]], cache: bool
) -> None:
    save_again(images)
    data = {**source(images), "cache": cache}
    sizes = sweep_of(data, space={"data.resize": {"choice": [10, 8]}})  # one of several ways is decoded
    check_data(sizes)
    assert refused(sweep_of(data)).startswith(EQUAL)
    assert [check_refuses(sizes)[: len(EQUAL)], check_refuses(sweep_of(data))[: len(EQUAL)]] == [EQUAL, EQUAL]


def test_what_is_decoded_is_checked_as_it_is_used(images: Path) -> None:
    (images / "a" / "0.png").write_bytes(b"no image")
    skipping = {**folder_of(images), "corrupt": "skip"}
    batch = {"size": 18, "images_per_class": 3}
    check_data(sweep_of(skipping, batch=batch))  # nobody knows yet
    too_few = "batch: does not fit the data set folder: 3 images from each of 6 classes make at most 17 images"
    assert refused(sweep_of(skipping, batch=batch)).startswith(too_few)
    assert check_refuses(sweep_of(skipping, batch=batch)).startswith(too_few)


@pytest.mark.parametrize(
    ("data", "weights", "expected"),
    [
        ({}, "none", ["Images are decoded by the launch, before its first worker: equal pixels in two splits are "]),
        ({"duplicates": "keep"}, "none", ["Images are decoded by the launch, before its first worker."]),
        ({"resize": 9}, "DEFAULT", ["Images are decoded by", "Weights that are not here are downloaded by the launch"]),
    ],
)
def test_what_is_left_to_a_launch(images: Path, data: dict[str, Any], weights: str, expected: list[str]) -> None:
    sweep = sweep_of({**folder_of(images), **data}, backbone={"name": "resnet18", "weights": weights})
    check_data(sweep)
    lines = left_to_launch(sweep)
    assert [line[: len(text)] for line, text in zip(lines, expected, strict=True)] == expected
    prepare_data(sweep, no_progress)
    assert len(left_to_launch(sweep)) == len(lines) - 1  # in a new process `check_data` finds it


def test_nothing_is_left_to_a_launch_on_images_that_need_no_decoding() -> None:
    assert left_to_launch(sweep_of({"name": "glyphs"})) == []
    assert left_to_launch(sweep_of({"name": "cub200", "root": "/nowhere"})) == [
        "Images are decoded by the launch, before its first worker."
    ]


@pytest.mark.parametrize(
    ("folds", "trial", "problem"),
    [
        (900, {}, "search.folds: 900 folds are more than the classes, of which there are 899"),
        (500, {}, "search.folds: 500 folds of 899 classes leave a fold with one class, in which whatever is retrieved"),
        (3, {"batch": {"size": 4000}}, "batch: does not fit the data set glyphs: 4 images from each of 599 classes"),
    ],
)
def test_folds_that_do_not_fit_the_classes_are_refused(folds: int, trial: dict[str, Any], problem: str) -> None:
    search = {"sampler": "grid", "scheduler": "none", "folds": folds}
    sweep = SweepConfig.model_validate({"name": "a", "trial": trial, "search": search})
    with pytest.raises(UserError) as caught:
        check_data(sweep)
    assert str(caught.value).startswith(problem)
