import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from mdr_tune.data.augmentations import random_resized_crop
from mdr_tune.data.augmentations.crop_resize import crop_resize
from mdr_tune.data.augmentations.random_resized_crop import RandomResizedCrop, draw_boxes

SQUARE = (3, 256, 256)


def box_of_one(uniform: np.ndarray, height: int, width: int, scale: tuple, ratio: tuple) -> tuple[int, int, int, int]:
    """Walk through torchvision's rule with the given random numbers."""
    for area_share, ratio_share in zip(uniform[:10], uniform[10:20], strict=True):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area_share)
        aspect = ratio[0] * (ratio[1] / ratio[0]) ** ratio_share
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = math.floor(uniform[20] * (height - box_height + 1))
            left = math.floor(uniform[21] * (width - box_width + 1))
            return top, left, box_height, box_width
    if width / height < ratio[0]:
        box_height, box_width = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        box_height, box_width = height, round(height * ratio[1])
    else:
        box_height, box_width = height, width
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


CASES = [
    (256, 256, (0.16, 1.0), (0.75, 1.33)),
    (256, 256, (0.9, 1.0), (0.5, 2.0)),  # most attempts do not fit
    (100, 300, (0.16, 1.0), (0.75, 1.33)),  # some rows fall back, to a box as high as the image
    (300, 100, (0.16, 1.0), (0.75, 1.33)),  # and to one as wide
    (30, 31, (0.5, 0.5), (1.0, 1.0)),
]


@pytest.mark.parametrize(("height", "width", "scale", "ratio"), CASES)
def test_boxes_equal_those_of_a_loop(height: int, width: int, scale: tuple, ratio: tuple) -> None:
    uniform = np.random.default_rng(0).random((500, 22))
    expected = [box_of_one(row, height, width, scale, ratio) for row in uniform]
    assert draw_boxes(uniform, height, width, scale, ratio).tolist() == [list(box) for box in expected]


@pytest.mark.parametrize(("height", "width", "scale", "ratio"), CASES[:4])
def test_boxes_are_distributed_as_torchvisions(height: int, width: int, scale: tuple, ratio: tuple) -> None:
    ours = draw_boxes(np.random.default_rng(1).random((3000, 22)), height, width, scale, ratio)
    image = torch.empty(3, height, width, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        theirs = np.array([TorchvisionCrop.get_params(image, list(scale), list(ratio)) for _ in range(3000)])
    for measure in measures(height, width):
        assert ks_2samp(measure(ours), measure(theirs)).pvalue > 0.01


def test_the_comparison_of_distributions_would_notice() -> None:
    """3000 boxes are enough to tell a log-uniform ratio from a uniform one, or a place from another."""
    uniform = np.random.default_rng(2).random((3000, 22))
    right = draw_boxes(uniform, 256, 256, (0.16, 0.4), (0.5, 2.0))
    other = np.random.default_rng(3).random((3000, 22))
    ratios = 0.5 + 1.5 * other[:, 10:20]
    other[:, 10:20] = np.log(ratios / 0.5) / np.log(4)
    other[:, 20] **= 1.1
    wrong = draw_boxes(other, 256, 256, (0.16, 0.4), (0.5, 2.0))
    _, aspect, top, left, _, _ = measures(256, 256)
    assert ks_2samp(aspect(right), aspect(wrong)).pvalue < 1e-6
    assert ks_2samp(top(right), top(wrong)).pvalue < 1e-3
    assert ks_2samp(left(right), left(wrong)).pvalue > 0.01


def measures(height: int, width: int) -> list:
    """Return functions from boxes (B, 4) to area, ratio, places within the free range, sides."""
    return [
        lambda boxes: boxes[:, 2] * boxes[:, 3],
        lambda boxes: boxes[:, 3] / boxes[:, 2],
        lambda boxes: boxes[:, 0] / np.maximum(height - boxes[:, 2], 1),
        lambda boxes: boxes[:, 1] / np.maximum(width - boxes[:, 3], 1),
        lambda boxes: boxes[:, 2],
        lambda boxes: boxes[:, 3],
    ]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(20, 400, (0, 186, 20, 27)), (400, 20, (186, 0, 27, 20)), (50, 50, (0, 0, 50, 50))],
)
def test_where_nothing_fits_the_largest_box_in_the_middle_is_taken(
    height: int, width: int, expected: tuple[int, ...]
) -> None:
    uniform = np.full((1, 22), 0.999)
    ratio = (0.75, 1.33)  # 20 * 1.33 = 26.6, 20 / 0.75 = 26.7; at 0.999, a square is left by a ratio of 1.33
    assert draw_boxes(uniform, height, width, (0.16, 1.0), ratio).tolist() == [list(expected)]


def test_the_last_place_is_within_the_image() -> None:
    largest = np.nextafter(1.0, 0.0)  # times 2**k - 1 it is rounded up to a whole number
    uniform = np.full((1, 22), largest)
    uniform[:, :20] = 0.0
    for size in range(2, 600):
        top, left, height, width = draw_boxes(uniform, size, size, (0.16, 1.0), (1.0, 1.0))[0]
        assert (top + height, left + width) == (size, size)


def test_params_are_whole_pixels_and_fair_flips() -> None:
    params = RandomResizedCrop(224).draw(4000, SQUARE, seed=0, epoch=1, step=2)
    assert (params.shape, params.dtype) == ((4000, 5), torch.float32)
    assert torch.equal(params, params.round())
    assert params[:, 4].unique().tolist() == [0, 1]
    assert params[:, 4].mean().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(4000))
    share = params[:, 2] * params[:, 3] / 256**2
    assert 0.155 < share.min() < 0.18  # sides are rounded
    assert share.max() > 0.95


@pytest.mark.parametrize(("flip", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_flips_can_be_turned_off_and_forced(flip: float, expected: float) -> None:
    params = RandomResizedCrop(224, flip=flip).draw(200, SQUARE, 0, 0, 0)
    assert params[:, 4].unique().tolist() == [expected]


def test_params_depend_on_seed_epoch_step_and_position() -> None:
    crop = RandomResizedCrop(224)
    params = crop.draw(64, SQUARE, 1, 2, 3)
    assert torch.equal(params[:40], crop.draw(40, SQUARE, 1, 2, 3))
    for other in [(0, 2, 3), (1, 0, 3), (1, 2, 0)]:
        assert not torch.equal(params, crop.draw(64, SQUARE, *other))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, *SQUARE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("interpolation", ["lanczos", "bicubic", "bilinear"])
@pytest.mark.parametrize("image_size", [224, None])
def test_images_are_cut_out_by_their_boxes(images: torch.Tensor, interpolation: str, image_size: int | None) -> None:
    crop = RandomResizedCrop(image_size, interpolation=interpolation)
    params = crop.draw(6, SQUARE, seed=0, epoch=0, step=0)
    expected = crop_resize(images, params, image_size or 256, interpolation)
    assert torch.equal(crop(images, params), expected)


def test_slice_alone_equals_slice_of_the_batch(images: torch.Tensor) -> None:
    crop = RandomResizedCrop(64)
    params = crop.draw(6, SQUARE, 0, 0, 0)
    whole = crop(images, params)
    assert torch.equal(crop(images[2:5], params[2:5]), whole[2:5])


def test_the_rule_is_the_authors_by_default() -> None:
    assert random_resized_crop.SCALE == (0.16, 1.0)
    crop, same = RandomResizedCrop(224), RandomResizedCrop(224, [0.16, 1], [0.75, 1.33], 0.5, "lanczos")
    assert torch.equal(crop.draw(50, SQUARE, 0, 0, 0), same.draw(50, SQUARE, 0, 0, 0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size must be positive"),
        ({"scale": (0.5, 0.2)}, "scale must be"),
        ({"scale": (0.0, 1.0)}, "scale must be"),
        ({"scale": (0.5, 1.5)}, "scale must be"),
        ({"ratio": (2.0, 1.0)}, "ratio must be"),
        ({"ratio": (0.0, 1.0)}, "ratio must be"),
        ({"flip": 1.1}, "flip must be"),
        ({"interpolation": "nearest"}, "interpolation must be one of lanczos, bicubic, bilinear, got 'nearest'"),
    ],
)
def test_numbers_out_of_range_are_an_error(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomResizedCrop(**arguments)


@pytest.mark.parametrize("params_shape", [(5, 5), (6, 4), (6,)])
def test_shapes_that_do_not_fit_are_an_error(images: torch.Tensor, params_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected images"):
        RandomResizedCrop(32)(images, torch.ones(params_shape))
