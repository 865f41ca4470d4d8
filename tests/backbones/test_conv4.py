import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mdr_tune.backbones import Conv4


@pytest.mark.parametrize(("in_channels", "width"), [(1, 64), (3, 64), (1, 32)])
def test_shapes(in_channels: int, width: int) -> None:
    backbone = Conv4(in_channels, width)
    assert (backbone.feature_size, backbone.in_channels, backbone.image_size) == (4 * width, in_channels, 32)
    assert backbone(torch.rand(2, in_channels, 32, 32)).shape == (2, 4 * width)


def test_equals_four_textbook_blocks() -> None:
    backbone = Conv4(in_channels=1, width=16)
    images = torch.randn(6, 1, 32, 32)
    parameters = dict(backbone.named_parameters())
    expected = images
    for block in range(4):
        weight = parameters[f"blocks.{block}.0.weight"]
        scale, shift = parameters[f"blocks.{block}.1.weight"], parameters[f"blocks.{block}.1.bias"]
        convolved = F.conv2d(expected, weight, padding=1)
        normed = F.batch_norm(convolved, None, None, scale, shift, training=True)
        expected = F.max_pool2d(F.relu(normed), 2)
    torch.testing.assert_close(backbone(images), expected.flatten(1))


def test_features_keep_their_scale_at_the_start() -> None:
    torch.manual_seed(0)
    features = Conv4()(torch.randn(64, 1, 32, 32))
    assert 0.3 < features.std().item() < 3


@pytest.mark.parametrize("width", [0, 1, 33, -2])
def test_odd_or_empty_width_is_an_error(width: int) -> None:
    with pytest.raises(ValueError, match="positive even"):
        Conv4(width=width)
