import subprocess
import sys
from collections.abc import Callable
from functools import cache

import pytest
import torch

from mdr_tune.backbones import Backbone, build_backbone, check_takes
from mdr_tune.backbones.families import FAMILIES, IDENTITY, family_of
from mdr_tune.backbones.torchvision_models import classification_models, image_limits
from mdr_tune.util.errors import UserError

REGISTERED = ("bn_inception", "conv4", "googlenet", "resnet18", "resnet50")


@cache
def made(name: str, weights: str) -> Backbone:
    if name.startswith("regnet"):
        return build_backbone(name, weights, load=False)
    with torch.device("meta"):
        return build_backbone(name, weights, load=False)


def test_registered_names() -> None:
    assert sorted(name for family in FAMILIES for name in family.names) == sorted([*REGISTERED, IDENTITY])


@pytest.mark.parametrize("name", [*REGISTERED, "resnet101", "vit_b_16", "efficientnet_v2_s"])
def test_known_names_pass(name: str) -> None:
    assert family_of(name) in FAMILIES


@pytest.mark.parametrize(
    ("name", "meant"),
    [("conv-4", "conv4"), ("resnet51", "resnet50"), ("ResNet50", "resnet50"), ("efficientnet_b9", "efficientnet_b")],
)
def test_unknown_name_suggests_the_nearest_and_says_where_the_list_is(name: str, meant: str) -> None:
    for function in (family_of, build_backbone):
        with pytest.raises(UserError, match=f"unknown backbone '{name}'. Did you mean '{meant}") as caught:
            function(name)
        assert "Known: bn_inception, conv4, googlenet" in str(caught.value)
        assert "docs.pytorch.org/vision" in str(caught.value)


@pytest.mark.parametrize("name", ["quantized_resnet18", "raft_small", "fcn_resnet50", "zzz"])
def test_other_kinds_of_torchvision_models_are_unknown(name: str) -> None:
    with pytest.raises(ValueError, match="unknown backbone"):
        family_of(name)


def test_conv4_alone_has_no_published_weights() -> None:
    assert [name for name in REGISTERED if not family_of(name).has_published_weights] == ["conv4"]


def test_conv4_is_built_without_torchvision() -> None:
    """Its import takes a second, of every worker."""
    code = (
        "import sys, mdr_tune.backbones as b; b.build_backbone('conv4'); sys.exit(77 * ('torchvision' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_loading_the_network_is_made_for_the_weights_but_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mdr_tune.backbones.by_name.fetch_weights", lambda name, weights: pytest.fail("asked for a file")
    )
    backbone = build_backbone("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", load=False)
    assert backbone.image_size == 384
    assert build_backbone("conv4", "/nowhere/weights.pt", load=False).feature_size == 256


def test_the_limits_of_each_family_s_own_names_are_written_down() -> None:
    for name in REGISTERED:
        assert family_of(name).image_limits(name, "none", {}) == made(name, "none").image_limits


@pytest.mark.parametrize("name", sorted({*REGISTERED, *classification_models()}))
def test_which_images_a_network_takes_is_known_without_making_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in REGISTERED:
        monkeypatch.setattr("torchvision.models.get_model", lambda *arguments, **options: pytest.fail("made a network"))
    channels = 1 if name == "conv4" else 3
    size = 32 if name == "conv4" else 224 if name == "bn_inception" else image_limits(name).image_size
    check_takes(name, "DEFAULT", (channels, size, size))
    check_takes(name, "DEFAULT", (1, size, size))
    with pytest.raises(ValueError, match=rf"{name} takes .*, got \(2, {size}, {size}\)"):
        check_takes(name, "DEFAULT", (2, size, size))
    with pytest.raises(ValueError, match=f"{name} takes images"):
        check_takes(name, "DEFAULT", (size, size))


@pytest.mark.parametrize(
    "name", ["conv4", "bn_inception", "googlenet", "vgg11", "vit_b_16", "swin_t", "regnet_x_400mf"]
)
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 10, 40), (3, 224, 224), (3, 384, 384), (4, 224, 224)], ids=str)
def test_the_network_itself_says_the_same_of_images(name: str, shape: tuple[int, ...]) -> None:
    def said(function: Callable[..., None], *arguments: object) -> str:
        try:
            function(*arguments)
        except ValueError as error:
            return str(error)
        return "nothing"

    for weights in ("none", "IMAGENET1K_SWAG_E2E_V1", "DEFAULT"):
        network = made(name, weights)
        assert said(check_takes, name, weights, shape) == said(network.check_image_shape, shape)


def test_an_unknown_backbone_takes_nothing() -> None:
    with pytest.raises(ValueError, match="unknown backbone 'resnet51'"):
        check_takes("resnet51", "none", (3, 224, 224))
