"""Against Pillow, which the authors resample with, and against torchvision's two ways."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv
from matplotlib import cbook
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from mdr_tune.data.augmentations.crop_resize import crop_resize, resample
from mdr_tune.data.augmentations.random_resized_crop import RandomResizedCrop

SIZE = 224
INTERPOLATIONS = ("lanczos", "bicubic", "bilinear")
OF_TENSORS = [
    pytest.param("lanczos", marks=pytest.mark.skipif(torch.__version__ < (2, 12), reason="torch 2.12 is the first")),
    "bicubic",
    "bilinear",
]
"""Those that torchvision resizes tensors with."""


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Six parts of the photo that matplotlib ships, 256 x 256, made as the authors' Resize makes them, twice."""
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        parts = [(0, 0, 512, 600), (0, 0, 512, 384), (100, 50, 400, 350), (0, 200, 300, 600), (200, 0, 512, 312)]
        photos = [photo.crop(part).resize((256, 256), Image.Resampling.LANCZOS) for part in parts]
    return photos * 3


@pytest.fixture(scope="module")
def images(photos: list[Image.Image]) -> torch.Tensor:
    """The photos, as a cache holds them: (15, 3, 256, 256) uint8, of which the channels lie side by side."""
    return torch.from_numpy(np.stack([np.array(photo) for photo in photos])).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def boxes() -> torch.Tensor:
    boxes = RandomResizedCrop(SIZE).draw(15, (3, 256, 256), seed=0, epoch=0, step=0)
    assert boxes[:, 4].unique().tolist() == [0, 1]
    assert boxes[:, 2].min() < SIZE < boxes[:, 2].max()  # some are made larger, some smaller
    return boxes


def one_by_one(images: list, boxes: torch.Tensor, crop: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Apply `crop(image, top, left, height, width)` and the flip to each image in turn."""
    results = []
    for image, (*box, mirrored) in zip(images, boxes.int().tolist(), strict=True):
        result = crop(image, *box)
        results.append(torch.flip(result, [-1]) if mirrored else result)
    return torch.stack(results)


def difference(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Grey values."""
    return (one.double() - other.double()).abs()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pixels_equal_pillows_rows_before_columns(
    interpolation: str, photos: list[Image.Image], images: torch.Tensor, boxes: torch.Tensor
) -> None:
    how = Image.Resampling[interpolation.upper()]

    def crop(photo: Image.Image, top: int, left: int, height: int, width: int) -> torch.Tensor:
        part = photo.crop((left, top, left + width, top + height))
        return tv.pil_to_tensor(part.resize((SIZE, height), how).resize((SIZE, SIZE), how))

    apart = difference(crop_resize(images, boxes, SIZE, interpolation), one_by_one(photos, boxes, crop))
    assert apart.max() <= 2
    assert apart.mean() < 0.01


def test_lanczos_is_what_the_authors_see_and_the_others_are_farther_off(
    photos: list[Image.Image], images: torch.Tensor, boxes: torch.Tensor
) -> None:
    def crop(photo: Image.Image, *box: int) -> torch.Tensor:
        return tv.pil_to_tensor(tv.resized_crop(photo, *box, [SIZE, SIZE], InterpolationMode.LANCZOS))

    theirs = one_by_one(photos, boxes, crop)
    means = {name: difference(crop_resize(images, boxes, SIZE, name), theirs).mean().item() for name in INTERPOLATIONS}
    assert means["lanczos"] < 0.06
    assert means["bicubic"] == pytest.approx(1.0, rel=0.15)
    assert means["bilinear"] == pytest.approx(2.1, rel=0.15)
    on_gpu = difference(resample(images, boxes, SIZE, "lanczos"), theirs).mean()
    assert on_gpu < 0.35  # rounding alone is 0.25


@pytest.mark.parametrize("interpolation", OF_TENSORS)
@pytest.mark.parametrize("size", [SIZE, 96])
@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_equal_those_of_torchvision(
    interpolation: str, size: int, channels_last: bool, images: torch.Tensor, boxes: torch.Tensor
) -> None:
    def crop(image: torch.Tensor, *box: int) -> torch.Tensor:
        return v2.resized_crop(image, *box, [size, size], InterpolationMode(interpolation), antialias=True)

    result = crop_resize(images if channels_last else images.contiguous(), boxes, size, interpolation)
    assert result.dtype == torch.uint8
    assert result.is_contiguous()
    apart = difference(result, one_by_one(list(images), boxes, crop))
    if interpolation == "bilinear":  # on a processor without AVX2 torchvision rounds once, torch and Pillow twice
        assert apart.max() <= 1
        assert apart.mean() < 0.25
    else:
        assert apart.max() == 0


@pytest.mark.parametrize("interpolation", OF_TENSORS)
def test_products_with_weights_equal_torchvisions_float_kernels(
    interpolation: str, images: torch.Tensor, boxes: torch.Tensor
) -> None:
    """Within the range that nothing overshoots from, so that where it is cut off has no say."""
    grey = 96 + images.float() / 4

    def crop(image: torch.Tensor, *box: int) -> torch.Tensor:
        return v2.resized_crop(image, *box, [SIZE, SIZE], InterpolationMode(interpolation), antialias=True)

    result = resample(grey, boxes, SIZE, interpolation)
    torch.testing.assert_close(result, one_by_one(list(grey), boxes, crop), rtol=0, atol=2e-3)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_products_with_weights_are_the_cpus_pixels_before_rounding(
    interpolation: str, images: torch.Tensor, boxes: torch.Tensor
) -> None:
    exact = resample(images, boxes, SIZE, interpolation)
    assert exact.dtype == torch.float32
    assert exact.min() >= 0
    assert exact.max() <= 255
    apart = difference(exact, crop_resize(images, boxes, SIZE, interpolation))
    assert apart.max() < 2.5  # the CPU rounds twice
    assert apart.mean() < 0.35


def test_slices_of_a_batch_are_computed_alike(images: torch.Tensor, boxes: torch.Tensor) -> None:
    for compute, tolerance in ((crop_resize, 0.0), (resample, 1e-3)):
        whole = compute(images, boxes, SIZE, "lanczos")
        for rows in (slice(0, 5), slice(5, 6), slice(6, 15), slice(3, 3)):
            part = compute(images[rows], boxes[rows], SIZE, "lanczos")
            torch.testing.assert_close(part, whole[rows], rtol=0, atol=tolerance)


@pytest.mark.parametrize("compute", [crop_resize, resample])
def test_a_box_of_the_result_s_size_is_copied_and_mirrored(
    compute: Callable[..., torch.Tensor], images: torch.Tensor
) -> None:
    box = torch.tensor([[3.0, 9.0, 100.0, 100.0, 0.0], [3.0, 9.0, 100.0, 100.0, 1.0]])
    plain, mirrored = compute(images[:1].expand(2, -1, -1, -1), box, 100, "lanczos").float()
    expected = images[0, :, 3:103, 9:109].float()
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(mirrored, expected.flip(-1), rtol=0, atol=1e-3)


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_products(images: torch.Tensor, boxes: torch.Tensor) -> None:
    result = crop_resize(images.cuda(), boxes, SIZE, "lanczos")
    torch.testing.assert_close(result.cpu(), resample(images, boxes, SIZE, "lanczos"), rtol=0, atol=2e-3)
