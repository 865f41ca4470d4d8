"""Pooling of maps and tokens, each against its formula, and networks without their own pooling."""

import pytest
import torch

from mdr_tune.backbones import build_backbone
from mdr_tune.backbones.pooling import Pool, Pooling

GENERATOR = torch.Generator().manual_seed(0)
MAPS = torch.randn(3, 4, 2, 5, generator=GENERATOR, dtype=torch.float64)
TOKENS = torch.randn(3, 7, 4, generator=GENERATOR, dtype=torch.float64)


def by_hand(values: list[float], pool: Pool) -> float:
    mean, most = sum(values) / len(values), max(values)
    if pool == "gem":
        return (sum(max(value, 1e-6) ** 3 for value in values) / len(values)) ** (1 / 3)
    return {"auto": mean, "avg": mean, "max": most, "avg_max": (mean + most) / 2}[pool]


@pytest.mark.parametrize("pool", ["auto", "avg", "max", "avg_max", "gem"])
def test_each_pooling_is_its_formula(pool: Pool) -> None:
    with torch.no_grad():
        pooled = Pooling(pool).double()(MAPS)
        of_tokens = Pooling(pool, prefix_tokens=2).double()(TOKENS)
    for n in range(3):
        for f in range(4):
            assert float(pooled[n, f]) == pytest.approx(by_hand(MAPS[n, f].flatten().tolist(), pool), rel=1e-12)
            assert float(of_tokens[n, f]) == pytest.approx(by_hand(TOKENS[n, 2:, f].tolist(), pool), rel=1e-12)
    assert Pooling(pool)(MAPS[:, :, 0, 0]).equal(MAPS[:, :, 0, 0])  # pooled already


def test_the_exponent_of_gem_is_learned_and_its_gradient_is_right() -> None:
    gem = Pooling("gem").double()
    assert [(name, parameter.tolist()) for name, parameter in gem.named_parameters()] == [("p", [3.0])]
    assert torch.autograd.gradcheck(gem, MAPS.abs().requires_grad_())
    assert torch.autograd.gradcheck(lambda p: torch.func.functional_call(gem, {"p": p}, MAPS.abs()), gem.p)
    half = Pooling("gem")(torch.full((1, 1, 2, 2), 300.0, dtype=torch.float16))  # 300^3 is no float16
    assert float(half) == pytest.approx(300, rel=1e-5)


ENDS_WITH_POOLING = ("resnet18", "googlenet", "densenet121", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5")
OTHERS = ("efficientnet_b0", "mobilenet_v2", "regnet_y_400mf", "swin_t", "bn_inception")


@pytest.mark.parametrize("name", [*ENDS_WITH_POOLING, *OTHERS, "vit_b_32"])
def test_a_network_without_its_pooling_gives_what_it_would_pool(name: str) -> None:
    torch.manual_seed(0)
    network = build_backbone(name, "none").eval()
    names, pool = list(network.state_dict()), Pooling("token" if name == "vit_b_32" else "avg")
    size = network.image_size if network.fixed_image_size else 64
    with torch.no_grad():
        images = torch.randn(1, 3, size, size)
        features = network(images)
        network.without_pooling()
        unpooled = network(images)
    assert unpooled.ndim == (3 if name == "vit_b_32" else 4)
    assert network.prefix_tokens == int(name == "vit_b_32")
    torch.testing.assert_close(pool(unpooled), features)
    assert features.shape == (1, network.feature_size)
    assert list(network.state_dict()) == names


def test_conv4_gives_its_last_maps_without_flattening_them() -> None:
    network, images = build_backbone("conv4").eval(), torch.randn(2, 1, 32, 32)
    flat = network(images)
    network.without_pooling()
    assert network(images).flatten(1).equal(flat)
    assert (network.feature_size, network(images).shape) == (64, (2, 64, 2, 2))


@pytest.mark.parametrize("name", ["vgg11", "mobilenet_v3_small", "convnext_tiny", "maxvit_t"])
def test_layers_behind_the_pooling_are_not_left_out(name: str) -> None:
    with torch.device("meta"):
        network = build_backbone(name, "none")
    with pytest.raises(ValueError, match=rf"^{name} pools its features itself: leave out embedding.pool$"):
        network.without_pooling()
