import numpy as np
import pytest
import torch

from mdr_tune.data import SPLIT_NAMES
from mdr_tune.data.dataset import ImageSplit, OpenedDataset
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, ChosenImages, Listing, assemble
from tests.data.listings.listings import listing_of, written

LISTING = listing_of(
    "test e query",
    "train d",
    "validation c",
    "test a gallery",
    "train b",
    "train d",
    "test e gallery",
    "validation c",
    "test a query",
    "train b",
    "test a gallery",
)


def images_of(listing: Listing) -> torch.Tensor:
    """Make images whose first value is their index."""
    return torch.arange(len(listing) * 3 * 2 * 2, dtype=torch.uint8).view(-1, 3, 2, 2)


def read(split: ImageSplit) -> list[tuple[int, int]]:
    """Return (index in the listing, label) of all images."""
    pixels = split.images[torch.arange(len(split))]
    return list(zip((pixels[:, 0, 0, 0] // 12).tolist(), split.labels.tolist(), strict=True))


def assembled(listing: Listing) -> OpenedDataset:
    return assemble("own", listing, images_of(listing), (1, 5))


def test_labels_count_through_the_splits_by_class() -> None:
    searched, test = assembled(LISTING)
    # train: b, d; validation: c; test: a, e
    assert read(searched.split("train")) == [(1, 1), (4, 0), (5, 1), (9, 0)]
    assert read(searched.split("validation")) == [(2, 2), (7, 2)]
    assert read(test) == [(0, 4), (8, 3)]
    assert test.gallery is not None
    assert read(test.gallery) == [(3, 3), (6, 4), (10, 3)]
    assert (searched.name, searched.recall_ks, searched.image_shape) == ("own", (1, 5), (3, 2, 2))


def test_without_roles_there_is_no_gallery() -> None:
    searched, test = assembled(listing_of("train a", "validation b", "test c", "test c"))
    assert [split.gallery for split in (searched.split("train"), searched.split("validation"), test)] == [None] * 3


def test_a_validation_split_may_have_a_gallery() -> None:
    searched, test = assembled(listing_of("train a", "validation b query", "validation b gallery", "test c"))
    assert read(searched.split("validation")) == [(1, 1)]
    gallery = searched.split("validation").gallery
    assert gallery is not None
    assert read(gallery) == [(2, 1)]
    assert test.gallery is None


def test_rows_and_classes() -> None:
    for split in SPLIT_NAMES:
        texts = written(LISTING)
        assert LISTING.rows(split).tolist() == [row for row, text in enumerate(texts) if text.startswith(split)]
    assert LISTING.rows("test", QUERY).tolist() == [0, 8]
    assert LISTING.rows("test", BOTH, GALLERY).tolist() == [3, 6, 10]
    assert LISTING.rows("test", BOTH).tolist() == []
    assert LISTING.classes("test").tolist() == [0, 4]


@pytest.mark.parametrize("rows", [[3, 0, 7], [], [5, 5]])
def test_select_by_index(rows: list[int]) -> None:
    chosen = LISTING.select(np.array(rows, dtype=np.int64))
    assert written(chosen) == [written(LISTING)[row] for row in rows]
    assert chosen.paths == tuple(f"{row}.png" for row in rows)
    assert (chosen.root, chosen.class_names) == (LISTING.root, LISTING.class_names)


def test_select_by_mask() -> None:
    mask = LISTING.splits == SPLIT_NAMES.index("train")
    assert written(LISTING.select(mask)) == ["train d", "train b", "train d", "train b"]


def test_columns_of_different_lengths_are_no_listing() -> None:
    with pytest.raises(AssertionError):
        Listing(LISTING.root, LISTING.paths[:-1], LISTING.class_ids, LISTING.class_names, LISTING.splits, LISTING.roles)


@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [3, 1], [2, 2, 0], []])
def test_chosen_images_are_those_of_their_rows(indices: list[int]) -> None:
    images = torch.randint(256, (9, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = [8, 2, 3, 0]
    chosen = ChosenImages(images, np.array(rows))
    assert (len(chosen), chosen.shape) == (4, (4, 3, 4, 5))
    result = chosen[torch.tensor(indices, dtype=torch.int64)]
    assert result.shape == (len(indices), 3, 4, 5)
    assert all(torch.equal(image, images[rows[index]]) for image, index in zip(result, indices, strict=True))


def test_chosen_of_chosen_images() -> None:
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    chosen = ChosenImages(ChosenImages(images, np.array([5, 3, 1, 0])), np.array([2, 0]))
    assert chosen[torch.tensor([0, 1])].flatten().tolist() == [1, 5]
