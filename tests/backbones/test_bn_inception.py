import json
import zlib
from pathlib import Path

import pytest
import torch

from mdr_tune.backbones import build_backbone
from mdr_tune.backbones.bn_inception import BNInception

OUTPUTS = Path(__file__).with_name("bn_inception_outputs.json")


def fill(backbone: BNInception) -> None:
    """Set all weights by a formula on their names, so that another implementation can have the same."""
    for name, tensor in backbone.state_dict().items():
        if not tensor.is_floating_point():
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        uniform = 2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1  # -1..1
        if name.endswith(("_bn.weight", "_bn.running_var")):
            values = 1 + uniform / 2
        elif tensor.ndim == 4:
            values = uniform * (6 / tensor[0].numel()) ** 0.5
        else:
            values = uniform / 10
        tensor.copy_(values)


@torch.no_grad()
@pytest.mark.parametrize("size", [224, 64])
def test_equals_the_authors_network(size: int) -> None:
    """Their outputs are in bn_inception_outputs.json: every 32nd feature of two images, by image size.

    Computed with model/backbone/bninception.py of https://github.com/kakaoenterprise/AAAI2021_MDR in eval mode and
    torch 2.14 on a CPU. Its weights were set by `fill` above (its parameters have the same names), the images are
    those below, and blue - 104, green - 117, red - 128 were stacked by hand.
    """
    backbone = BNInception().eval()
    fill(backbone)
    generator = torch.Generator().manual_seed(size)
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)
    expected = torch.tensor(json.loads(OUTPUTS.read_text())[str(size)])
    torch.testing.assert_close(backbone(backbone.normalize(images))[:, ::32], expected, rtol=1e-5, atol=1e-3)


def test_channels_of_the_blocks_are_those_of_the_file() -> None:
    """Input channels of the 1x1 reductions, which are the outputs of the blocks before them."""
    backbone = BNInception()
    names = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    inputs = [backbone.get_parameter(f"inception_{name}_3x3_reduce.weight").shape[1] for name in names]
    assert inputs == [192, 256, 320, 576, 576, 576, 608, 608, 1056, 1024]
    assert len(backbone.state_dict()) == 69 * 7  # weight and bias of a convolution, five tensors of a BatchNorm


@pytest.mark.parametrize("size", [(7, 7), (8, 9), (7, 300), (33, 47), (65, 32), (100, 200), (227, 227), (299, 111)])
def test_takes_any_size_from_7_on(size: tuple[int, int]) -> None:
    backbone = BNInception().to("meta")
    backbone.check_image_shape((3, *size))
    assert backbone(torch.empty(2, 3, *size, device="meta")).shape == (2, 1024)


@torch.no_grad()
def test_loads_a_file_of_the_published_form(tmp_path: Path) -> None:
    """Its BatchNorm tensors are (1, channels), it has a classification layer and no counts of batches."""
    source = BNInception().eval()
    fill(source)
    state = {name: tensor for name, tensor in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    published = {name: tensor[None] if "_bn." in name else tensor for name, tensor in state.items()}
    published |= {"last_linear.weight": torch.zeros(1000, 1024), "last_linear.bias": torch.zeros(1000)}
    torch.save(published, tmp_path / "published.pth")
    loaded = build_backbone("bn_inception", str(tmp_path / "published.pth"))
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in state.items())


@torch.no_grad()
def test_channels_last_gives_the_same_features() -> None:
    backbone = BNInception().eval()
    fill(backbone)
    images = torch.randn(2, 3, 64, 64)
    expected = backbone(images)
    backbone.to(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone(images.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-4)
