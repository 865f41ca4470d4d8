import pytest
import torch
from torch import nn

from mdr_tune.backbones import Backbone, Conv4, build_backbone


class Layers(Backbone):
    """A backbone of the layers that a test gives."""

    name = "layers"
    in_channels = 3
    image_size = 64
    min_image_size = 16

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.set_normalization((10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
        self.layers = nn.Sequential(*layers)


def test_bgr_turns_the_channels_and_mean_is_in_the_networks_order() -> None:
    backbone = Layers()
    image = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(1, 3, 16, 16)
    assert backbone.normalize(image)[0, :, 0, 0].tolist() == [1 - 10, (2 - 20) / 2, (3 - 30) / 4]
    backbone.bgr = True
    assert backbone.normalize(image)[0, :, 0, 0].tolist() == [3 - 10, (2 - 20) / 2, (1 - 30) / 4]
    grey = image[:, 1:2]
    assert backbone.normalize(grey)[0, :, 0, 0].tolist() == [2 - 10, (2 - 20) / 2, (2 - 30) / 4]


def test_conv4_normalizes_to_the_same_bits_as_version_0_1() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(4).view(1, 1, 32, 32)
    expected = (images - torch.tensor((127.5,))[:, None, None]) / torch.tensor((63.75,))[:, None, None]
    assert torch.equal(Conv4().normalize(images), expected)
    assert torch.equal(Conv4().double().normalize(images), expected)


def test_what_conv4_takes() -> None:
    with pytest.raises(
        ValueError,
        match=r"conv4 takes grey images of exactly 32x32 pixels, got \(3, 32, 32\): choose a backbone for colour",
    ):
        Conv4().check_image_shape((3, 32, 32))
    with pytest.raises(ValueError, match=r"got \(1, 64, 32\): make the images 32x32, or choose a backbone that takes"):
        Conv4().check_image_shape((1, 64, 32))
    Conv4(in_channels=3).check_image_shape((3, 32, 32))


def test_what_a_network_of_free_size_takes() -> None:
    Layers().check_image_shape((3, 16, 17))
    with pytest.raises(
        ValueError,
        match=r"layers takes RGB or grey images of at least 16x16 pixels, got \(3, 16, 15\): make the images larger",
    ):
        Layers().check_image_shape((3, 16, 15))
    with pytest.raises(ValueError, match=r"got \(4, 64, 64\): give images of 3 channels, red, green and blue, or of 1"):
        Layers().check_image_shape((4, 64, 64))


def test_what_a_vision_transformer_takes() -> None:
    backbone = build_backbone("vit_b_32")
    assert (backbone.fixed_image_size, backbone.image_size, backbone.min_image_size) == (True, 224, 224)
    backbone.check_image_shape((3, 224, 224))
    with pytest.raises(ValueError, match="vit_b_32 takes RGB or grey images of exactly 224x224 pixels"):
        backbone.check_image_shape((3, 256, 256))


@pytest.mark.parametrize("std", [(1.0, 1.0, 1.0), (58.4, 57.1, 57.4)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_normalizing_in_place_gives_the_bits_of_the_formula(std: tuple[float, ...], dtype: torch.dtype) -> None:
    layers = Layers()
    layers.set_normalization((104.0, 117.0, 128.5), std)
    images = torch.randint(0, 256, (2, 3, 16, 17), generator=torch.Generator().manual_seed(0)).to(dtype)
    before = images.clone()
    mean, divisor = (torch.tensor(values)[:, None, None] for values in ((104.0, 117.0, 128.5), std))
    assert torch.equal(layers.normalize(images), ((images - mean) / divisor).float())
    assert torch.equal(images, before)
