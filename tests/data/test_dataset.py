import pytest
import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.data import ImageDataset, ImageSplit, load_dataset, read_test_split, split_sizes
from mdr_tune.data.outline import GLYPHS


def split(images: torch.Tensor, *labels: int) -> ImageSplit:
    return ImageSplit(images, torch.tensor(labels))


def test_the_numbers_of_glyphs_are_known_without_rendering_them(glyphs_dataset: ImageDataset) -> None:
    parts = {"train": GLYPHS.train, "validation": GLYPHS.validation, "test": GLYPHS.test}
    found = {"train": glyphs_dataset.split("train"), "validation": glyphs_dataset.split("validation")}
    for name, part in {**found, "test": read_test_split(GlyphsDataConfig())}.items():
        outline = parts[name]
        assert outline is not None
        assert torch.equal(torch.unique(part.labels, return_counts=True)[1], torch.tensor(outline.class_sizes))
        assert outline.num_retrievable == len(part) - 1


def test_dataset_is_loaded_once_per_process(glyphs_dataset: ImageDataset) -> None:
    assert load_dataset(GlyphsDataConfig()) is glyphs_dataset


def test_search_code_cannot_get_the_test_split(glyphs_dataset: ImageDataset) -> None:
    with pytest.raises(ValueError, match="no split 'test' to search on; choose one of train, validation"):
        glyphs_dataset.split("test")  # type: ignore[arg-type]
    seen = torch.cat([part.labels for part in glyphs_dataset.splits.values()])
    assert not torch.isin(read_test_split(GlyphsDataConfig()).labels, seen).any()


def test_sizes_of_the_splits() -> None:
    assert split_sizes(GlyphsDataConfig()) == {"train": (8304, 692), "validation": (2484, 207), "test": (5820, 485)}


def test_split_checks_its_tensors() -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        ImageSplit(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"images must be \(n, C, H, W\)"):
        ImageSplit(torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels must be int64"):
        ImageSplit(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


def test_what_the_network_sees_is_cut_to_the_image_size() -> None:
    images = torch.zeros(4, 3, 20, 30, dtype=torch.uint8)
    dataset = ImageDataset("toy", {"train": split(images, 0, 0, 1, 1)})
    assert dataset.image_shape == dataset.input_shape(None) == (3, 20, 30)
    assert dataset.input_shape(16) == (3, 16, 16)
    assert dataset.split("train").num_classes == 2


def test_a_name_in_place_of_a_data_set_is_refused_with_what_makes_it() -> None:
    with pytest.raises(TypeError, match=r"mdr_tune.config.read_data\('glyphs'\) makes it"):
        load_dataset("glyphs")  # type: ignore[arg-type]
