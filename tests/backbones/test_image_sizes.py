"""The sizes of images that a backbone is said to take are those that a training step on it runs with."""

import pytest
import torch
import torchvision

from mdr_tune.backbones import Backbone, build_backbone
from mdr_tune.backbones.torchvision_models import classification_models

# fmt: off
SMALL = (
    "alexnet", "bn_inception", "conv4", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s",
    "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf",
    "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_32",
)
# fmt: on
"""One of each family; two where a family has two versions."""


def step(network: Backbone, size: int) -> None:
    """Forward and backward, as in training, of the fewest images."""
    features = network(torch.rand(2, network.in_channels, size, size))
    assert features.shape == (2, network.feature_size)
    features.sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", SMALL)
def test_a_network_takes_the_least_size_that_it_is_said_to_take_and_none_below(name: str) -> None:
    network = build_backbone(name).train()
    least = network.min_image_size
    others = (least // 2, least + 32) if network.fixed_image_size else range(least - 1, least)
    step(network, least)
    for size in filter(None, others):
        with pytest.raises((RuntimeError, AssertionError)):
            step(network, size)


def test_a_network_of_each_family_of_torchvision_is_tried() -> None:
    def families(names: list[str]) -> set[str]:
        return {torchvision.models.get_model_builder(name).__module__ for name in names}

    models = list(classification_models())
    assert families(models) == families([name for name in SMALL if name in models])
