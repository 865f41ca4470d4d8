"""timm's models as backbones. timm's own test models are used, which have 0.3 to 1 million weights."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from mdr_tune.backbones import build_backbone, check_takes
from mdr_tune.backbones.families import family_of
from mdr_tune.config.trial import TrialConfig
from mdr_tune.util.errors import UserError

SMALL = (
    "timm.test_resnet",
    "timm.test_byobnet",
    "timm.test_vit",
    "timm.test_vit2",
    "timm.test_maxvit",
    "timm.levit_128s",
)


def images(size: int, count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def states(model: torch.nn.Module, folder: Path) -> list[Path]:
    """Return files with the weights of a `model` of timm: of torch and safetensors, with the classifier and without."""
    whole = model.state_dict()
    without = {
        key: tensor
        for key, tensor in whole.items()
        if not key.startswith(("fc.", "head.fc", "head.weight", "head.bias"))
    }
    paths = []
    for name, state in {"whole": whole, "without": without}.items():
        torch.save(state, folder / f"{name}.pth")
        save_file(state, folder / f"{name}.safetensors")
        paths += [folder / f"{name}.pth", folder / f"{name}.safetensors"]
    torch.save({"epoch": 3, "state_dict": whole}, folder / "checkpoint.pth")
    return [*paths, folder / "checkpoint.pth"]


@torch.no_grad()
@pytest.mark.parametrize("name", ["timm.test_resnet", "timm.test_byobnet", "timm.test_vit"])
def test_features_are_timms_with_the_weights_of_each_kind_of_file(name: str, tmp_path: Path) -> None:
    model = timm.create_model(name.removeprefix("timm.")).eval()
    data = timm.data.resolve_model_data_config(model)
    given = images(160)
    mean, std = (torch.tensor(data[key])[:, None, None] for key in ("mean", "std"))
    expected = model.forward_head(model.forward_features((given / 255 - mean) / std), pre_logits=True)
    for path in states(model, tmp_path):
        backbone = build_backbone(name, str(path), image_size=160).eval()
        assert backbone.image_size == data["input_size"][-1]
        torch.testing.assert_close(backbone(backbone.normalize(given)), expected, rtol=1e-4, atol=1e-4)
        again = tmp_path / "again.pt"
        torch.save(backbone.state_dict(), again)
        assert torch.equal(
            build_backbone(name, str(again), image_size=160).eval()(backbone.normalize(given)),
            backbone(backbone.normalize(given)),
        )


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_maxvit"])
def test_weights_of_another_image_size_are_resampled_as_timm_does(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model(name).state_dict(), path)
    options = {"num_classes": 0, "img_size": 64, "pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
    expected = timm.create_model(name, **options).state_dict()
    network = build_backbone(f"timm.{name}", str(path), image_size=64).network
    torch.testing.assert_close(network.state_dict(), expected, rtol=0, atol=0)


def test_the_image_size_and_normalisation_are_those_of_the_tag() -> None:
    one, other = build_backbone("timm.vit_tiny_patch16_224"), build_backbone("timm.vit_tiny_patch16_224.augreg_in21k")
    assert one.input_mean == other.input_mean == (127.5,) * 3
    assert build_backbone("timm.test_vit").input_mean == pytest.approx((255 * 0.5,) * 3)
    assert build_backbone("timm.resnet10t").input_std == (255 * 0.229, 255 * 0.224, 255 * 0.225)
    assert build_backbone("timm.resnet10t").image_size == 176


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm.test_vit9", r"timm has no model 'test_vit9'. Did you mean 'timm.test_vit'\? All names: python"),
        (
            "timm.resnet50.a1_in2k",
            r"no weights 'a1_in2k' of resnet50. Did you mean 'timm.resnet50.a1_in1k'\? Its tags: a1_in1k, a1h",
        ),
        ("timm.test_maxvit.x", r"timm has no weights 'x' of test_maxvit. It has none: write timm.test_maxvit"),
        ("resnet10t", r"Did you mean 'timm.resnet10t'\? Known: .*timm's own names"),
        ("vit_small_patch16_224", r"Did you mean 'timm.vit_small_patch16_224'\?"),
    ],
)
def test_unknown_names_suggest_the_nearest(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        family_of(name)


def refusal(name: str, size: int) -> str:
    try:
        check_takes(name, "none", (3, size, size))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [20, 32, 50, 160])
def test_the_sizes_that_a_network_is_said_to_take_are_those_that_work(name: str, size: int) -> None:
    said = refusal(name, size)
    if not said:
        _step(name, size)
        return
    assert f"{name} does not take images of (3, {size}, {size}): " in said
    for better in said.rpartition("Make the images ")[2].split(" or "):
        assert not refusal(name, int(better.partition("x")[0]))
    if "patches of" not in said:  # timm itself drops the rest of a patch without a word
        with pytest.raises((RuntimeError, AssertionError, ValueError, ArithmeticError)):
            _step(name, size)


def _step(name: str, size: int) -> None:
    network = build_backbone(name, image_size=size).train()
    features = network(network.normalize(images(size)))
    assert features.shape == (2, network.feature_size)
    features.sum().backward()


def test_weights_that_cannot_be_resampled_are_found_without_a_file() -> None:
    check_takes("timm.mixer_s16_224", "none", (3, 64, 64))
    with pytest.raises(
        ValueError, match=r"published weights do not fit .* 64x64.*Make the images 224x224, or set backbone"
    ):
        check_takes("timm.mixer_s16_224", "DEFAULT", (3, 64, 64))
    with pytest.raises(
        ValueError, match=r"for 160x160 with embed_dim, num_heads: it has another shape .*leave out those arguments"
    ):
        check_takes("timm.test_vit", "DEFAULT", (3, 160, 160), {"embed_dim": 32, "num_heads": 1})
    with pytest.raises(ValueError, match=r"timm cannot make it with \{'num_heads': 7\}: AssertionError"):
        check_takes("timm.test_vit", "none", (3, 160, 160), {"num_heads": 7})
    with pytest.raises(
        ValueError, match=r"gives 576x1024 features for an image, not one vector: set backbone.global_pool"
    ):
        check_takes("timm.qwen3_vit_88m_enc", "none", (3, 768, 768))


def test_a_file_of_another_network_is_refused_and_what_is_too_much_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(UserError, match=r"weights.pth does not fit the network: it lacks .* and has unknown conv1"):
        build_backbone("timm.test_vit", str(path))
    torch.save(timm.create_model("test_vit", depth=8).state_dict(), path)
    with caplog.at_level(logging.WARNING):
        build_backbone("timm.test_vit", str(path))
    assert "has tensors that timm.test_vit does not have, and does not use: blocks." in caplog.text
    with pytest.raises(UserError, match=r"does not fit the network: it lacks blocks.8"):
        build_backbone("timm.test_vit", str(path), arguments={"depth": 9})
    (tmp_path / "bad.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    with pytest.raises(UserError, match=r"cannot read .*bad.safetensors: it is damaged or another kind of file"):
        build_backbone("timm.test_vit", str(tmp_path / "bad.safetensors"))


def backbone_error(**section: Any) -> str:
    with pytest.raises(UserError) as caught:
        TrialConfig.from_keys({"backbone": {"name": "timm.test_vit", "weights": "none", **section}})
    return str(caught.value)


def test_arguments_are_checked_by_name_and_type() -> None:
    keys = {"drop_path_rate": 0.1, "attn_drop_rate": 0, "depth": 2, "dynamic_img_size": True, "global_pool": "avg"}
    config = TrialConfig.from_keys({"backbone": {"name": "timm.test_vit", "weights": "none", **keys}})
    assert config.flat()["backbone.drop_path_rate"] == 0.1
    assert len(build_backbone("timm.test_vit", arguments=config.backbone.arguments).network.blocks) == 2  # type: ignore[arg-type]
    assert "drop_path_rat: unknown key. Did you mean 'drop_path_rate'?" in backbone_error(drop_path_rat=0.1)
    assert "num_classes: unknown key" in backbone_error(num_classes=3)
    assert "depth: expected a whole number, got 2.5" in backbone_error(depth=2.5)
    assert "depth: expected a whole number, got True" in backbone_error(depth=True)
    assert "qkv_bias: expected true or false, got 1" in backbone_error(qkv_bias=1)
    assert "drop_rate: expected a number from 0 to less than 1, got 1" in backbone_error(drop_rate=1)
    assert "global_pool: expected 'avg' or" in backbone_error(global_pool="mean")
    assert "patch_drop_rate" not in family_of("timm.test_resnet").arguments("timm.test_resnet")


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "shape", "prefix", "pool"),
    [
        ("timm.test_resnet", (2, 96, 2, 2), 0, lambda maps: maps.mean((2, 3))),
        ("timm.test_vit", (2, 1 + 16, 64), 1, lambda tokens: tokens[:, 0]),
        ("timm.swin_tiny_patch4_window7_224", (2, 768, 2, 2), 0, lambda maps: maps.mean((2, 3))),
    ],
)
def test_without_pooling_it_returns_what_it_pooled(
    name: str, shape: tuple[int, ...], prefix: int, pool: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    backbone = build_backbone(name, image_size=64).eval()
    given = backbone.normalize(images(64))
    expected = backbone(given)
    backbone.without_pooling()
    unpooled = backbone(given)
    assert (unpooled.shape, backbone.prefix_tokens) == (shape, prefix)
    assert backbone.feature_size == (shape[2] if len(shape) == 3 else shape[1])
    torch.testing.assert_close(pool(unpooled), expected)
