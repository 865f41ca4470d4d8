from typing import Any

import pytest
import torch

from mdr_tune.config import augmentations as config
from mdr_tune.config.strict_model import members
from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params
from mdr_tune.data.augmentations.augmentation import Augmentation
from mdr_tune.data.augmentations.cropping import center_crop

SHAPE = (3, 40, 48)
AUGMENTATIONS = sorted(members(config.Augmentation).keys() - {"auto"})


def build(name: str, image_size: int | None, **arguments: Any) -> Augmentation:
    return members(config.Augmentation)[name].model_validate({"name": name, **arguments}).build(image_size)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (12, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=AUGMENTATIONS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


class TestConformance:
    """What holds for every augmentation."""

    @pytest.fixture(params=[None, 31])
    def augmentation(self, name: str, request: pytest.FixtureRequest) -> Augmentation:
        return build(name, request.param)

    def test_results_have_the_size_that_was_told(self, augmentation: Augmentation, images: torch.Tensor) -> None:
        result = augmentation(images, augmentation.draw(12, SHAPE, 0, 0, 0))
        assert result.shape == (12, 3, *augmentation.output_size(SHAPE))
        assert result.dtype in (torch.uint8, torch.float32)
        assert result.min() >= 0
        assert 200 < result.max() <= 255

    def test_a_slice_of_the_params_gives_that_slice(self, augmentation: Augmentation, images: torch.Tensor) -> None:
        params = augmentation.draw(12, SHAPE, 3, 2, 1)
        whole = augmentation(images, params)
        for rows in (slice(0, 5), slice(5, 9), slice(9, 12), slice(4, 4)):
            assert torch.equal(augmentation(images[rows], params[rows]), whole[rows])

    def test_params_depend_on_seed_epoch_step_and_position(self, augmentation: Augmentation) -> None:
        params = augmentation.draw(12, SHAPE, 3, 2, 1)
        assert (params.dtype, params.device.type, params.shape[0]) == (torch.float32, "cpu", 12)
        assert torch.equal(augmentation.draw(7, SHAPE, 3, 2, 1), params[:7])
        if params.shape[1]:
            for other in [(0, 2, 1), (3, 0, 1), (3, 2, 0)]:
                assert not torch.equal(augmentation.draw(12, SHAPE, *other), params)

    def test_images_stay_as_they_are(self, augmentation: Augmentation, images: torch.Tensor) -> None:
        before = images.clone()
        augmentation(images, augmentation.draw(12, SHAPE, 0, 0, 0))
        assert torch.equal(images, before)

    def test_the_global_random_state_is_left_alone(self, augmentation: Augmentation, images: torch.Tensor) -> None:
        state = torch.get_rng_state()
        augmentation(images, augmentation.draw(12, SHAPE, 0, 0, 0))
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_layout_in_memory_changes_nothing(self, augmentation: Augmentation, images: torch.Tensor) -> None:
        params = augmentation.draw(12, SHAPE, 0, 0, 0)
        channels_last = images.contiguous(memory_format=torch.channels_last)
        assert torch.equal(augmentation(channels_last, params), augmentation(images, params))


@pytest.mark.parametrize("image_size", [None, 31])
def test_affine_is_augment_affine_and_then_the_middle(image_size: int | None, images: torch.Tensor) -> None:
    affine = build("affine", image_size)
    params = affine.draw(12, SHAPE, seed=1, epoch=2, step=3)
    assert torch.equal(params, draw_affine_params(12, seed=1, epoch=2, step=3))
    expected = augment_affine(images, params)
    assert torch.equal(affine(images, params), center_crop(expected, 31) if image_size else expected)


@pytest.mark.parametrize("image_size", [None, 31])
def test_none_is_the_middle(image_size: int | None, images: torch.Tensor) -> None:
    nothing = build("none", image_size)
    result = nothing(images, nothing.draw(12, SHAPE, 0, 0, 0))
    assert torch.equal(result, center_crop(images, 31) if image_size else images)


@pytest.mark.parametrize("name", ["affine", "none"])
def test_images_that_are_too_small_are_an_error_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="crop of 41 pixels cannot be cut out of images of 40 x 48"):
        build(name, 41).output_size(SHAPE)


def test_arguments_reach_the_augmentation() -> None:
    crop = build("random_resized_crop", 31, scale=[0.5, 0.5], ratio=[1, 1], flip=1, interpolation="bilinear")
    params = crop.draw(50, (3, 64, 64), 0, 0, 0)
    assert params[:, 2:].unique(dim=0).tolist() == [[45, 45, 1]]
