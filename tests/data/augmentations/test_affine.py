import math

import pytest
import torch

from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (12, 2, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def params_of(angle: float = 0, scale: float = 1, right: float = 0, down: float = 0) -> torch.Tensor:
    return torch.tensor([[angle, scale, right, down]])


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (6, 12), (3, 4), (4, 9)])
def test_slice_alone_equals_slice_of_the_batch(images: torch.Tensor, start: int, stop: int) -> None:
    params = draw_affine_params(12, seed=1, epoch=2, step=3)
    whole = augment_affine(images, params)
    torch.testing.assert_close(
        augment_affine(images[start:stop], params[start:stop]), whole[start:stop], rtol=0, atol=1e-6
    )


def test_no_change_gives_the_image(images: torch.Tensor) -> None:
    result = augment_affine(images[:1], params_of())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, images[:1].float(), rtol=0, atol=1e-2)


def test_whole_pixel_shift_moves_right_and_down_and_repeats_the_border(images: torch.Tensor) -> None:
    image = images[:1].float()
    expected = torch.empty_like(image)
    for y in range(32):
        for x in range(32):
            expected[..., y, x] = image[..., max(y - 1, 0), max(x - 2, 0)]
    torch.testing.assert_close(augment_affine(image, params_of(right=2, down=1)), expected, rtol=0, atol=1e-2)


def test_quarter_turn_is_clockwise_on_the_screen(images: torch.Tensor) -> None:
    result = augment_affine(images[:1], params_of(angle=math.pi / 2))
    expected = torch.rot90(images[:1].float(), k=-1, dims=(2, 3))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-2)


def test_scale_above_one_enlarges() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[..., 12:20, 12:20] = 255  # a square of 8 pixels
    area = augment_affine(image, params_of(scale=1.25)).sum() / 255
    assert area.item() == pytest.approx(10 * 10, rel=0.02)


def test_params_are_reproducible_and_within_range() -> None:
    params = draw_affine_params(4000, seed=0, epoch=0, step=0)
    assert (params.shape, params.dtype) == ((4000, 4), torch.float32)
    low = torch.tensor([-math.radians(10), 0.9, -2, -2])
    high = torch.tensor([math.radians(10), 1.1, 2, 2])
    assert torch.all(params >= low)
    assert torch.all(params <= high)
    torch.testing.assert_close(params.mean(0), (low + high) / 2, rtol=0, atol=0.1)
    assert torch.equal(params, draw_affine_params(4000, seed=0, epoch=0, step=0))


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_params_differ_by_seed_epoch_and_step(other: tuple[int, int, int]) -> None:
    assert not torch.equal(draw_affine_params(8, *other), draw_affine_params(8, 0, 0, 0))


def test_row_of_params_depends_on_its_position_only() -> None:
    assert torch.equal(draw_affine_params(128, 0, 1, 2)[:64], draw_affine_params(64, 0, 1, 2))


@pytest.mark.parametrize("params_shape", [(11, 4), (12, 3), (12,)])
def test_shapes_that_do_not_fit_are_an_error(images: torch.Tensor, params_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected images"):
        augment_affine(images, torch.zeros(params_shape))
