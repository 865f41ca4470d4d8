"""What every backbone must do."""

from pathlib import Path

import pytest
import torch

from mdr_tune.backbones import Backbone, build_backbone
from mdr_tune.backbones.families import FAMILIES, IDENTITY
from tests.own_components import NETWORKS

TIMM = ["timm.test_resnet", "timm.test_byobnet"]
NAMES = [*(name for family in FAMILIES for name in family.names if name != IDENTITY), *TIMM, *NETWORKS]
SIZE = 32  # all of them take it, and it is quick


def random_images(backbone: Backbone, size: int, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (count, backbone.in_channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module", params=NAMES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(request.param).eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [SIZE, 224])
def test_maps_images_to_features_of_the_announced_size(backbone: Backbone, size: int) -> None:
    images = random_images(backbone, size)
    if backbone.fixed_image_size and size != backbone.image_size:
        with pytest.raises(ValueError, match=f"exactly {backbone.image_size}x{backbone.image_size} pixels"):
            backbone.normalize(images)
        return
    features = backbone(backbone.normalize(images))
    assert (features.shape, features.dtype) == ((2, backbone.feature_size), torch.float32)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


def test_normalize_equals_a_loop_over_pixels(backbone: Backbone) -> None:
    images = random_images(backbone, SIZE)
    normalized = backbone.normalize(images)
    assert (normalized.shape, normalized.dtype) == (images.shape, torch.float32)
    channels = backbone.in_channels
    for channel, (mean, std) in enumerate(zip(backbone.input_mean, backbone.input_std, strict=True)):
        given = channels - 1 - channel if backbone.bgr else channel
        for row, column in ((0, 0), (5, 7), (31, 31)):
            expected = (images[1, given, row, column].item() - mean) / std
            assert normalized[1, channel, row, column].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_float_images_equal_uint8_ones(backbone: Backbone) -> None:
    images = random_images(backbone, SIZE)
    for dtype in (torch.float32, torch.float64):
        torch.testing.assert_close(backbone.normalize(images.to(dtype)), backbone.normalize(images))


def test_grey_images_equal_three_equal_channels(backbone: Backbone) -> None:
    grey = random_images(backbone, SIZE)[:, :1]
    coloured = grey.expand(-1, backbone.in_channels, -1, -1)
    assert torch.equal(backbone.normalize(grey), backbone.normalize(coloured))


def test_normalization_does_not_depend_on_the_type_of_the_weights() -> None:
    for name in NAMES:
        backbone = build_backbone(name)
        images = random_images(backbone, SIZE)
        expected = backbone.normalize(images)
        for dtype in (torch.float64, torch.bfloat16, torch.float32):
            assert torch.equal(backbone.to(dtype).normalize(images), expected)


def test_normalization_follows_the_weights_to_a_device(backbone: Backbone) -> None:
    on_meta = build_backbone(backbone.name).to("meta")
    assert on_meta.normalize(random_images(backbone, SIZE).to("meta")).device.type == "meta"
    back = on_meta.to_empty(device="cpu")
    assert torch.equal(back.normalize(random_images(backbone, SIZE)), backbone.normalize(random_images(backbone, SIZE)))


def test_two_channels_or_too_few_pixels_are_an_error(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=f"{backbone.name} takes .*, got \\(2, 32, 32\\): "):
        backbone.check_image_shape((2, 32, 32))
    with pytest.raises(ValueError, match=r"takes images \(channels, height, width\), got \(3, 32\)"):
        backbone.check_image_shape((3, 32))
    with pytest.raises(ValueError, match=f"{backbone.name} takes .* pixels, got .*0\\): make the images"):
        backbone.check_image_shape((1, 32, 0))
    backbone.check_image_shape((backbone.in_channels, backbone.image_size, backbone.image_size))
    backbone.check_image_shape((1, backbone.min_image_size, backbone.min_image_size))


def test_gradient_reaches_every_parameter() -> None:
    for name in NAMES:
        backbone = build_backbone(name)
        for parameter in backbone.parameters():
            if not parameter.any():  # the last BatchNorm of timm's blocks; the layers before it get no gradient
                torch.nn.init.ones_(parameter)
        backbone(
            torch.randn(4, backbone.in_channels, 64 if name != "conv4" else 32, 64 if name != "conv4" else 32)
        ).square().sum().backward()
        for parameter_name, parameter in backbone.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            if not parameter_name.endswith("bias"):  # a bias before a BatchNorm has none but rounding errors
                assert parameter.grad.any(), parameter_name


def test_global_seed_fixes_the_weights() -> None:
    def weights(name: str, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.detach().flatten() for parameter in build_backbone(name).parameters()])

    for name in NAMES:
        assert torch.equal(weights(name, 0), weights(name, 0))
        assert not torch.equal(weights(name, 0), weights(name, 1))


@torch.no_grad()
def test_state_dict_round_trip_through_a_file(backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(backbone.state_dict(), path)
    loaded = build_backbone(backbone.name, str(path)).eval()
    assert loaded.state_dict().keys() == backbone.state_dict().keys()
    images = backbone.normalize(random_images(backbone, SIZE))
    assert torch.equal(loaded(images), backbone(images))


def test_normalization_is_not_part_of_the_state(backbone: Backbone) -> None:
    assert not {"_mean", "_std"} & backbone.state_dict().keys()
