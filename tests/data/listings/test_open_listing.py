import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mdr_tune.data.dataset import ImageSplit, OpenedDataset
from mdr_tune.data.listings.class_split import with_test, with_validation
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing
from mdr_tune.data.listings.open_listing import draw_splits, open_listed
from mdr_tune.data.outline import SplitOutline
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.data.listings.listings import listing_of

SIZE = 8
OPENING: dict[str, Any] = {
    "recall_ks": [1, 3],
    "resize": SIZE,
    "cache": True,
    "corrupt": "refuse",
    "single_image_classes": "refuse",
    "validation": {"fraction": 0.3, "seed": 0},
    "test": {"fraction": 0.3, "seed": 0},
}
TEN_CLASSES = [f"train {name}" for name in "abcdefghij" for _ in range(3)]


def with_files(folder: Path, *images: str) -> Listing:
    """Write a picture of its own for each image of a listing."""
    listing = dataclasses.replace(listing_of(*images), root=folder / "pictures")
    listing.root.mkdir()
    for number, path in enumerate(listing.paths):
        pixels = np.random.default_rng(number).integers(0, 256, (11, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(listing.root / path)
    return listing


def opened(listing: Listing, **changes: Any) -> OpenedDataset:
    listed = draw_splits("own", listing, **{**OPENING, **changes})
    return open_listed(listed, listing.root.parent / "cache", no_progress)


def check_pixels(split: ImageSplit, listing: Listing, rows: np.ndarray) -> None:
    """Compare a split with the files `rows` of a listing, read by Pillow."""
    images = split.images[torch.arange(len(split))]
    assert images.shape == (len(rows), 3, SIZE, SIZE)
    for image, row in zip(images, rows, strict=True):
        with Image.open(listing.root / listing.paths[row]) as file:
            expected = np.asarray(file.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("cache", [True, False])
def test_drawn_splits_have_the_images_of_their_classes(tmp_path: Path, cache: bool) -> None:
    listing = with_files(tmp_path, *TEN_CLASSES)
    searched, test = opened(listing, cache=cache)
    drawn = with_validation(with_test(listing, OPENING["test"]), OPENING["validation"])
    start = 0
    for name, split, num_classes in [
        ("train", searched.split("train"), 5),
        ("validation", searched.split("validation"), 2),
        ("test", test, 3),
    ]:
        check_pixels(split, listing, drawn.rows(name))
        labels = torch.arange(start, start + num_classes).repeat_interleave(3)
        assert torch.equal(split.labels, labels)
        start += num_classes
    assert (searched.name, searched.recall_ks) == ("own", (1, 3))


def test_splits_of_its_own(tmp_path: Path) -> None:
    roles = ["test d query", "test d gallery", "test e gallery", "test d query"]
    listing = with_files(tmp_path, "validation c", *roles, "train b", "train a", "validation c", "train a", "train b")
    searched, test = opened(listing)
    assert test.gallery is not None
    check_pixels(searched.split("train"), listing, listing.rows("train"))
    check_pixels(searched.split("validation"), listing, listing.rows("validation"))
    check_pixels(test, listing, listing.rows("test", BOTH, QUERY))
    check_pixels(test.gallery, listing, listing.rows("test", BOTH, GALLERY))
    assert searched.split("train").labels.tolist() == [1, 0, 0, 1]
    outline = draw_splits("own", listing, **OPENING).outline()
    assert (outline.train.class_sizes, outline.train.num_retrievable) == ((2, 2), 3)
    assert (outline.validation.class_sizes, outline.validation.num_retrievable) == ((2,), 1)
    assert outline.test == SplitOutline((2,), gallery=2)
    assert (test.labels.tolist(), test.gallery.labels.tolist()) == ([3, 3], [3, 4])


def test_single_images_are_dropped_before_classes_are_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = with_files(tmp_path, *TEN_CLASSES, "train y", "train z")
    with caplog.at_level(logging.WARNING):
        searched, test = opened(listing, single_image_classes="drop")
    assert "nothing to retrieve in 2 of 12 classes" in caplog.text
    assert "'y', 'z'. Left out: 2 of 32 images" in caplog.text
    sizes = [len(searched.split("train")), len(searched.split("validation")), len(test)]
    assert sizes == [15, 6, 9]
    searched, test = opened(listing, single_image_classes="keep")
    assert len(searched.split("train")) + len(searched.split("validation")) + len(test) == 32


@pytest.mark.parametrize(
    ("images", "changes", "message"),
    [
        ([*TEN_CLASSES, "train z"], {}, r"data\.single_image_classes: nothing to retrieve in 1 of 11 classes"),
        (["train a query", *TEN_CLASSES], {}, "data: 1 training image marked"),
        (["test z query", "test z query", *TEN_CLASSES], {}, "2 query images, but no gallery"),
        (TEN_CLASSES, {"test": None}, "data: no image is in the test split"),
        (["test a", "test a"], {}, "data: no image is in the training split"),
        (
            ["validation a", "validation a", *TEN_CLASSES[3:]],
            {"test": {"fraction": 0.99}},
            r"data\.test\.fraction: of 9",
        ),
        (TEN_CLASSES, {"validation": {"folds": 8, "fold": 0}}, r"data\.validation\.folds: 8 folds are more than"),
        (
            ["test a", "test a", *TEN_CLASSES, "validation b", "validation b"],
            {},
            r"classes in more than one split \(train, validation, test\): 2 of 10",
        ),
        (["test a", *TEN_CLASSES], {}, r"classes in more than one split \(train, test\): 1 of 10, such as 'a'"),
        (
            ["test a", *TEN_CLASSES],
            {"single_image_classes": "drop"},
            r"classes in more than one split \(train, test\): 1 of 10, such as 'a'",
        ),
        (
            ["train a", "train a", "validation b", "validation b", "test c", "test c"],
            {},
            "data: one class is left to train on",
        ),
    ],
)
def test_what_is_wrong_with_the_listing_is_said_before_a_file_is_looked_for(
    tmp_path: Path, images: list[str], changes: dict[str, Any], message: str
) -> None:
    listing = dataclasses.replace(listing_of(*images), root=tmp_path / "nowhere")
    with pytest.raises(UserError, match=message):
        opened(listing, **changes)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    listing = with_files(tmp_path, *TEN_CLASSES)
    (listing.root / "7.png").unlink()
    with pytest.raises(UserError, match=r"data\.root: .*7\.png"):
        opened(listing)


def test_corrupt_images_are_refused(tmp_path: Path) -> None:
    listing = with_files(tmp_path, *TEN_CLASSES)
    (listing.root / "7.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"data\.corrupt: .*7\.png"):
        opened(listing)


def test_corrupt_images_that_are_skipped_move_no_other_image_between_splits(tmp_path: Path) -> None:
    listing = with_files(tmp_path, *TEN_CLASSES)
    drawn = with_validation(with_test(listing, OPENING["test"]), OPENING["validation"])
    # One image of some classes, and all but one of class e, which is left out then, as a class with a single image is.
    corrupt = [1, 3, 12, 14, 20]
    for row in corrupt:
        (listing.root / listing.paths[row]).write_bytes((listing.root / listing.paths[row]).read_bytes()[:100])
    searched, test = opened(listing, corrupt="skip", single_image_classes="drop")
    gone = [*corrupt, 13]
    for name, split in [
        ("train", searched.split("train")),
        ("validation", searched.split("validation")),
        ("test", test),
    ]:
        check_pixels(split, listing, np.setdiff1d(drawn.rows(name), gone))
    with pytest.raises(UserError, match=r"data\.single_image_classes: nothing to retrieve in 1 of 10 classes.*'e'"):
        opened(listing, corrupt="skip", single_image_classes="refuse")


def test_a_split_that_skipping_leaves_empty_is_an_error(tmp_path: Path) -> None:
    splits = ["train a", "train b", "train c", "validation d", "test e"]
    listing = with_files(tmp_path, *[image for image in splits for _ in range(2)])
    for row in listing.rows("validation"):
        (listing.root / listing.paths[row]).write_bytes(b"")
    with pytest.raises(UserError, match="data: no image is in the validation split"):
        opened(listing, corrupt="skip")


def test_queries_without_a_gallery_after_skipping_are_an_error(tmp_path: Path) -> None:
    images = [
        "train a",
        "train a",
        "train b",
        "train b",
        "validation c",
        "validation c",
        "test d query",
        "test d gallery",
    ]
    listing = with_files(tmp_path, *images)
    (listing.root / "7.png").write_bytes(b"")
    with pytest.raises(UserError, match="the test split has 1 query image, but no gallery"):
        opened(listing, corrupt="skip", single_image_classes="keep")


@pytest.mark.parametrize("cache", [True, False])
def test_the_same_picture_in_two_drawn_splits_is_refused_unless_it_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cache: bool
) -> None:
    listing = with_files(tmp_path, *TEN_CLASSES)
    drawn = with_validation(with_test(listing, OPENING["test"]), OPENING["validation"])
    trained, tested = drawn.rows("train")[0], drawn.rows("test")[0]
    shutil.copyfile(listing.root / listing.paths[trained], listing.root / listing.paths[tested])
    pair = [f"'{listing.paths[row]}' ({split}, " for row, split in ((trained, "train"), (tested, "test"))]
    for _ in range(2):
        with pytest.raises(UserError, match=r"data\.duplicates: 2 of 30 images \(2 classes\) have") as caught:
            opened(listing, cache=cache)
        assert all(text in str(caught.value) for text in pair)
    kept, _ = opened(listing, cache=cache, duplicates="keep")
    assert "2 of 30 images (2 classes) have the same pixels as another one" in caplog.text
    searched, _ = opened(listing, cache=cache, duplicates="keep")
    assert searched.content == kept.content


def test_a_copy_that_is_left_out_is_no_matter(tmp_path: Path) -> None:
    listing = with_files(tmp_path, *TEN_CLASSES, "train z", "train z")
    (listing.root / "30.png").write_bytes(b"")  # so that the other image of the class is left out as well
    shutil.copyfile(listing.root / "0.png", listing.root / "31.png")
    opened(listing, corrupt="skip", single_image_classes="drop")
