import pytest
import torch

from mdr_tune.backbones import build_backbone
from mdr_tune.catalog import BACKBONES
from mdr_tune.registry import Unavailable

LATER = ("bn_inception", "googlenet", "resnet18", "resnet50")
BUILT = tuple(name for name in BACKBONES if name not in LATER)


def test_known_names() -> None:
    assert list(BACKBONES) == sorted(("conv4", *LATER))


@pytest.mark.parametrize("name", LATER)
def test_backbone_of_a_later_version_says_so(name: str) -> None:
    with pytest.raises(Unavailable, match=f"{name}.*conv4 is available"):
        build_backbone(name)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'conv4'\? Known: bn_inception, conv4"):
        build_backbone("conv-4")


# What every backbone must do.


@pytest.mark.parametrize("name", BUILT)
def test_maps_images_to_features_of_the_announced_size(name: str) -> None:
    backbone = build_backbone(name)
    shape = (3, backbone.in_channels, backbone.image_size, backbone.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    features = backbone(backbone.normalize(images))
    assert (features.shape, features.dtype) == ((3, backbone.feature_size), torch.float32)


@pytest.mark.parametrize("name", BUILT)
def test_gradient_reaches_every_parameter(name: str) -> None:
    backbone = build_backbone(name)
    images = torch.rand(4, backbone.in_channels, backbone.image_size, backbone.image_size)
    backbone(images).square().sum().backward()
    gradients = [parameter.grad for parameter in backbone.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert all(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("name", BUILT)
def test_global_seed_fixes_the_weights(name: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([parameter.detach().flatten() for parameter in build_backbone(name).parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize("name", BUILT)
def test_normalization_constants_are_per_channel_in_grey_values(name: str) -> None:
    backbone = build_backbone(name)
    assert len(backbone.input_mean) == len(backbone.input_std) == backbone.in_channels
    size = backbone.image_size
    image = torch.tensor(backbone.input_mean)[None, :, None, None].expand(1, -1, size, size)
    assert not backbone.normalize(image).any()
    one_std_more = image + torch.tensor(backbone.input_std)[:, None, None]
    torch.testing.assert_close(backbone.normalize(one_std_more), torch.ones_like(image))


@pytest.mark.parametrize("name", BUILT)
def test_images_of_another_kind_are_an_error(name: str) -> None:
    backbone = build_backbone(name)
    with pytest.raises(ValueError, match="takes images"):
        backbone.normalize(torch.zeros(1, backbone.in_channels + 1, backbone.image_size, backbone.image_size))
    with pytest.raises(ValueError, match="takes images"):
        backbone.normalize(torch.zeros(1, backbone.in_channels, backbone.image_size, backbone.image_size + 1))
