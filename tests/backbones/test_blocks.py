"""The blocks of networks: how many, in which order, and that together they are the network."""

import pytest
import torch
from torch import nn

from mdr_tune.backbones import build_backbone
from mdr_tune.backbones.blocks import blocks_of


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("conv4", 4, "blocks.0.0", "blocks.4"),
        ("bn_inception", 12, "conv1_7x7_s2", "inception_5b_pool_proj_bn"),
        ("resnet18", 9, "network.conv1", "network.fc"),
        ("resnet50", 17, "network.conv1", "network.fc"),
        ("vit_b_16", 13, "network.conv_proj", "network.heads.head"),
        ("swin_t", 16, "network.features.0.0", "network.head"),
        ("efficientnet_b0", 18, "network.features.0", "network.classifier.1"),
        ("densenet121", 8, "network.features.conv0", "network.classifier"),
        ("regnet_y_400mf", 17, "network.stem", "network.fc"),
        ("maxvit_t", 14, "network.stem.0", "network.classifier.5"),
        ("vgg11_bn", 10, "network.features.0", "network.classifier.6"),
    ],
)
def test_the_blocks_of_a_network(name: str, count: int, first: str, last: str) -> None:
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # torchvision reads numbers as it builds RegNet
        network = build_backbone(name, "none")
    blocks = network.list_blocks()
    names = {module: key for key, module in network.named_modules()}
    assert len(blocks) == count
    assert names.get(blocks[0], names.get(next(blocks[0].children()))) == first
    assert names.get(blocks[-1], names.get([*blocks[-1].children()][-1])) == last
    inside = [parameter for block in blocks for parameter in block.parameters()]
    loose = {"network.class_token", "network.encoder.pos_embedding"} if name == "vit_b_16" else set()
    assert {n for n, p in network.named_parameters() if not any(p is other for other in inside)} == loose
    assert len(inside) == len({id(parameter) for parameter in inside})


def test_a_list_named_blocks_is_opened_and_norms_and_dropout_join_the_block_before() -> None:
    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.embed, self.norm = nn.Dropout(), nn.Linear(2, 2), nn.LayerNorm(2)
            self.stages = nn.ModuleList([Stage(), Stage()])
            self.end = nn.Dropout()

    network = Network()
    first, *between, last = blocks_of(nn.Sequential(network))
    assert [*first.children()] == [network.drop, network.embed, network.norm]
    assert between == [network.stages[0].blocks[0], network.stages[0].blocks[1], network.stages[1].blocks[0]]
    assert [*last.children()] == [network.stages[1].blocks[1], network.end]
