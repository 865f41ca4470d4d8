import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mdr_tune.config import augmentations as config
from mdr_tune.config.strict_model import members
from mdr_tune.data import BatchSampler, ImageSplit
from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params
from mdr_tune.data.augmentations.augmentation import Augmentation
from mdr_tune.metric import shard_slice
from mdr_tune.training import Ranks
from mdr_tune.training.input_pipeline import InputBatch, InputPipeline

SEED = 3
AUGMENTATIONS = sorted(members(config.Augmentation).keys() - {"auto"})


def build(name: str, image_size: int | None, **arguments: Any) -> Augmentation:
    return members(config.Augmentation)[name].model_validate({"name": name, **arguments}).build(image_size)


EPOCH = 2


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


class CountingImages:
    """Images that are no tensor, as a cache's are; counts the images of each read."""

    dtype = torch.uint8

    def __init__(self, images: torch.Tensor) -> None:
        self._images, self.reads = images, []

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._images.shape)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        self.reads.append(len(indices))
        return self._images[indices]


@pytest.fixture(scope="module")
def split() -> ImageSplit:
    images = torch.randint(0, 256, (60, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageSplit(images, torch.arange(12).repeat_interleave(5))


@pytest.fixture(scope="module")
def batches(split: ImageSplit) -> torch.Tensor:
    """Five batches of 22 images: no number of ranks but 1, 2, 11 and 22 divides them."""
    return BatchSampler(split.labels, 22, 3, seed=SEED).epoch_batches(EPOCH, 5)


def run(
    split: ImageSplit, batches: torch.Tensor, name: str, ranks: Ranks | None = None, prefetch_batches: int = 2
) -> list[InputBatch]:
    pipeline = InputPipeline(split, build(name, 16), SEED, ranks or Ranks(), prefetch_batches)
    return list(pipeline.epoch(EPOCH, batches))


def test_affine_images_are_bit_identical_to_augment_affine(split: ImageSplit, batches: torch.Tensor) -> None:
    """For glyphs (no crop): the numbers of all trials before this class existed."""
    ranks = Ranks(rank=1, world_size=3)
    pipeline = InputPipeline(split, build("affine", None), SEED, ranks)
    results = list(pipeline.epoch(EPOCH, batches))
    assert len(results) == len(batches)
    for step, (indices, result) in enumerate(zip(batches, results, strict=True)):
        mine = shard_slice(22, 3, 1)
        params = draw_affine_params(22, SEED, EPOCH, step)[mine]
        assert torch.equal(result.images, augment_affine(split.images[indices[mine]], params))
        assert torch.equal(result.labels.values, split.labels[indices])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_numbers_do_not_depend_on_how_far_it_reads_ahead(name: str, split: ImageSplit, batches: torch.Tensor) -> None:
    expected = run(split, batches, name, prefetch_batches=0)
    for prefetch_batches in (1, 2, 9):
        for one, other in zip(expected, run(split, batches, name, prefetch_batches=prefetch_batches), strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels.values, other.labels.values)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("world_size", [2, 3])
def test_the_slices_of_all_ranks_are_the_batch_of_one(
    name: str, world_size: int, split: ImageSplit, batches: torch.Tensor
) -> None:
    alone = run(split, batches, name)
    ranks = [run(split, batches, name, Ranks(rank, world_size)) for rank in range(world_size)]
    for expected, *slices in zip(alone, *ranks, strict=True):
        assert torch.equal(torch.cat([part.images for part in slices]), expected.images)
        assert all(torch.equal(part.labels.values, expected.labels.values) for part in slices)


def test_each_epoch_and_each_seed_is_augmented_anew(split: ImageSplit, batches: torch.Tensor) -> None:
    crop = build("random_resized_crop", 16)

    def first(seed: int, epoch: int) -> torch.Tensor:
        return next(InputPipeline(split, crop, seed, Ranks(), 0).epoch(epoch, batches)).images

    assert torch.equal(first(0, 1), first(0, 1))
    assert not torch.equal(first(0, 1), first(0, 2))
    assert not torch.equal(first(0, 1), first(1, 1))


def test_a_rank_reads_its_own_images_only(split: ImageSplit, batches: torch.Tensor) -> None:
    images = CountingImages(split.images)
    run(ImageSplit(images, split.labels), batches, "none", Ranks(rank=2, world_size=3))
    assert images.reads == [7] * 5  # 22 = 8 + 7 + 7


def test_what_is_told_of_the_shape_is_true(split: ImageSplit, batches: torch.Tensor) -> None:
    for name in AUGMENTATIONS:
        for image_size in (None, 16):
            pipeline = InputPipeline(split, build(name, image_size), SEED, Ranks())
            assert all(result.images.shape == (22, *pipeline.image_shape) for result in pipeline.epoch(0, batches))


def test_a_crop_larger_than_the_images_is_an_error_before_anything_is_read(split: ImageSplit) -> None:
    with pytest.raises(ValueError, match="crop of 25 pixels"):
        InputPipeline(split, build("none", 25), SEED, Ranks())


@pytest.mark.parametrize("prefetch_batches", [0, 1, 2])
def test_an_error_while_reading_is_raised_in_its_place(
    prefetch_batches: int, split: ImageSplit, batches: torch.Tensor
) -> None:
    broken = batches.clone()
    broken[2, 0] = 60  # there are 60
    pipeline = InputPipeline(split, build("none", 16), SEED, Ranks(), prefetch_batches)
    results = pipeline.epoch(EPOCH, broken)
    assert all(torch.equal(next(results).labels.values, split.labels[indices]) for indices in broken[:2])
    with pytest.raises(IndexError):
        next(results)


def test_an_error_in_a_step_ends_the_reading(split: ImageSplit, batches: torch.Tensor) -> None:
    images = CountingImages(split.images)
    pipeline = InputPipeline(ImageSplit(images, split.labels), build("none", 16), SEED, Ranks(), 1)

    def train() -> None:
        for _ in pipeline.epoch(EPOCH, batches):
            raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        train()
    assert len(images.reads) <= 2
    assert len(list(pipeline.epoch(EPOCH, batches))) == 5  # and it can be used again


def test_results_are_not_overwritten_by_later_ones(split: ImageSplit, batches: torch.Tensor) -> None:
    kept = run(split, batches, "random_resized_crop")
    fresh = InputPipeline(split, build("random_resized_crop", 16), SEED, Ranks()).epoch(EPOCH, batches)
    assert all(torch.equal(old.images, new.images) for old, new in zip(kept, fresh, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_on_a_gpu_the_numbers_are_those_of_the_cpu_but_for_rounding(
    name: str, split: ImageSplit, batches: torch.Tensor
) -> None:
    on_gpu = run(split, batches, name, Ranks(device=torch.device("cuda", 0)))
    for ours, expected in zip(on_gpu, run(split, batches, name), strict=True):
        assert ours.images.device.type == ours.labels.values.device.type == "cuda"
        assert (ours.images.cpu().float() - expected.images.float()).abs().max() < 2.5  # grey values; the CPU rounds
        assert torch.equal(ours.labels.values.cpu(), expected.labels.values)
