import pytest
import torch

from mdr_tune.catalog import DATASETS
from mdr_tune.data import ImageDataset, ImageSplit, cache_dir, load_dataset
from mdr_tune.registry import Unavailable

LATER = ("cub200", "cars196", "sop", "inshop")


def test_known_names() -> None:
    assert list(DATASETS) == sorted(("glyphs", *LATER))


@pytest.mark.parametrize("name", LATER)
def test_data_set_of_a_later_version_says_so(name: str) -> None:
    with pytest.raises(Unavailable, match=f"{name}.*glyphs is available"):
        load_dataset(name)
    with pytest.raises(Unavailable, match="glyphs is available"):
        DATASETS[name].prepare(cache_dir())


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'glyphs'\? Known: cars196, cub200"):
        load_dataset("glyph")


def test_dataset_is_loaded_once_per_process(glyphs_dataset: ImageDataset) -> None:
    assert load_dataset("glyphs") is glyphs_dataset


def test_unknown_split_lists_the_known_ones(glyphs_dataset: ImageDataset) -> None:
    with pytest.raises(ValueError, match="choose one of train, validation, test"):
        glyphs_dataset.split("val")  # type: ignore[arg-type]


def test_split_checks_its_tensors() -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        ImageSplit(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels must be int64"):
        ImageSplit(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


def test_number_of_classes_adds_up() -> None:
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    splits = {
        "train": ImageSplit(images, torch.tensor([0, 0, 1, 1])),
        "test": ImageSplit(images, torch.tensor([2, 2, 2, 2])),
    }
    dataset = ImageDataset("toy", splits)  # type: ignore[arg-type]
    assert dataset.num_classes == 3
    assert len(dataset.split("test")) == 4
