"""Layers of timm and of torch draw for the global batch, and those that do not are found."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import DropBlock2d, DropPath, PatchDropout, PatchDropoutWithIndices
from timm.models.efficientvit_msra import ResidualDrop
from timm.models.vision_transformer import Attention
from torch import nn

from mdr_tune.config.trial import BackboneConfig
from mdr_tune.training.global_draws import make_draws_global
from mdr_tune.training.local_draws import layers_that_draw_locally, local_draws
from mdr_tune.util.errors import UserError

TOKENS, MAPS = (12, 9, 8), (12, 3, 9, 9)


class FunctionalDropout(nn.Module):
    """Calls torch's functions, as many of timm's networks do before their classifier."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.dropout2d(F.dropout(images, 0.3, self.training), 0.2, training=self.training)


class FusedAttention(nn.Module):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        heads = tokens.unflatten(-1, (2, 4)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.3 if self.training else 0.0)


class Windows(nn.Module):
    """Gives a layer several parts of each image, as Swin does."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.drop(tokens.reshape(-1, 3, tokens.shape[-1])).reshape(tokens.shape)


class OwnAttention(nn.MultiheadAttention):
    """Gives one tensor. Images are the second dimension for the layer, as torch has it unless told otherwise."""

    def __init__(self, **how: Any) -> None:
        super().__init__(8, 2, dropout=0.4, **how)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = tokens if self.batch_first else tokens.transpose(0, 1)
        attended, shares = super().forward(rows, rows, rows, need_weights=self.batch_first)
        assert (shares is None) != self.batch_first
        return attended if self.batch_first else attended.transpose(0, 1)


class TokensFirst(nn.TransformerEncoderLayer):
    """Torch's usual order: tokens are the first dimension, images the second."""

    def __init__(self) -> None:
        super().__init__(8, 2, 16, 0.4)

    def forward(self, src: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(src.transpose(0, 1)).transpose(0, 1)


class OwnRecurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **how: Any) -> None:
        super().__init__()
        self.layer = kind(8, 8, num_layers=3, dropout=0.4, **how)  # type: ignore[call-arg]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        is_first = self.layer.batch_first
        outputs, states = self.layer(tokens if is_first else tokens.transpose(0, 1))
        ends = states if isinstance(states, torch.Tensor) else torch.cat(states, -1)
        return torch.cat([(outputs if is_first else outputs.transpose(0, 1)).flatten(1), *ends], 1)


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "DropPath": (lambda: DropPath(0.4), MAPS),
    "DropPath, unscaled": (lambda: DropPath(0.4, scale_by_keep=False), TOKENS),
    "DropBlock2d": (lambda: DropBlock2d(0.3, 3), MAPS),
    "DropBlock2d, even blocks": (lambda: DropBlock2d(0.3, 4, couple_channels=False), MAPS),
    "PatchDropout": (lambda: PatchDropout(0.5), TOKENS),
    "PatchDropoutWithIndices": (lambda: PatchDropoutWithIndices(0.5, num_prefix_tokens=0, ordered=True), TOKENS),
    "Dropout2d": (lambda: nn.Dropout2d(0.4), MAPS),
    "windows": (Windows, TOKENS),
    "functions": (FunctionalDropout, MAPS),
    "fused attention": (FusedAttention, TOKENS),
    "attention of timm": (lambda: Attention(8, 2, attn_drop=0.4, proj_drop=0.2), TOKENS),
    "ResidualDrop": (lambda: ResidualDrop(nn.Identity(), 0.4), MAPS),
    "Dropout1d": (lambda: nn.Dropout1d(0.4), TOKENS),
    "Dropout1d of features": (lambda: nn.Sequential(nn.Flatten(), nn.Dropout1d(0.4)), TOKENS),
    "Dropout3d": (lambda: nn.Sequential(nn.Unflatten(3, (3, 3)), nn.Dropout3d(0.4)), MAPS),
    "AlphaDropout": (lambda: nn.AlphaDropout(0.4), MAPS),
    "FeatureAlphaDropout": (lambda: nn.FeatureAlphaDropout(0.4), MAPS),
    "RReLU": (lambda: nn.RReLU(), MAPS),
    "FractionalMaxPool2d": (lambda: nn.FractionalMaxPool2d(2, output_size=4), MAPS),
    "FractionalMaxPool3d": (
        lambda: nn.Sequential(nn.Unflatten(3, (3, 3)), nn.FractionalMaxPool3d(2, output_size=(4, 1, 1))),
        MAPS,
    ),
    "MultiheadAttention": (OwnAttention, TOKENS),
    "MultiheadAttention with weights": (lambda: OwnAttention(batch_first=True, add_bias_kv=True), TOKENS),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.4, batch_first=True), TOKENS),
    "TransformerEncoderLayer, tokens first": (TokensFirst, TOKENS),
    "LSTM": (lambda: OwnRecurrent(nn.LSTM, batch_first=True, bidirectional=True, proj_size=4), TOKENS),
    "GRU": (lambda: OwnRecurrent(nn.GRU), TOKENS),
    "RNN": (lambda: OwnRecurrent(nn.RNN, nonlinearity="relu", bias=False), TOKENS),
}
DRAW_ALWAYS = ("FractionalMaxPool2d", "FractionalMaxPool3d")
"""Layers that draw in evaluation as well."""


@torch.no_grad()
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_draws_for_the_global_batch(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    network = nn.Sequential(make()).double()
    images = torch.randn(shape, dtype=torch.float64)
    names, untouched = list(network.state_dict()), network.eval()(images)
    draws = make_draws_global(network.train())
    assert list(network.state_dict()) == names

    def computed(step: int, rows: slice) -> torch.Tensor:
        torch.rand(3)  # the global generator is in another state each time
        draws.at((0, 1, step), len(images), rows)
        result = network(images[rows])
        return result[0] if isinstance(result, tuple) else result

    whole = computed(2, slice(0, 12))
    parts = torch.cat([computed(2, rows) for rows in (slice(0, 4), slice(4, 5), slice(5, 12))])
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
    assert not torch.equal(computed(3, slice(0, 12)), whole)
    if name not in DRAW_ALWAYS:
        torch.testing.assert_close(network.eval()(images), untouched, rtol=1e-12, atol=1e-12)


def moments(result: Any) -> torch.Tensor:
    """Return the mean and the mean square of all numbers, and the mean square of the means over single images."""
    values = (result[0] if isinstance(result, tuple) else result).flatten(1)
    return torch.stack([values.mean(), values.square().mean(), values.mean(1).square().mean()])


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"DropPath, unscaled", "windows"}))
def test_what_a_layer_keeps_has_the_mean_that_the_library_gives_it(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    network = nn.Sequential(make()).double().train()
    images = torch.rand((1500, *shape[1:]), dtype=torch.float64) - 0.4
    theirs = moments(network(images))
    draws = make_draws_global(network)
    draws.at((0,), len(images), slice(0, len(images)))
    torch.testing.assert_close(moments(network(images)), theirs, rtol=0.05, atol=0.01)


class DrawsItself(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + torch.rand_like(images)


class Shared(nn.Module):
    """A dropout of numbers that belong to no image."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.drop(torch.ones(8, 1, 1, device=images.device)).mean()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (DrawsItself(), "DrawsItself (1) draws random numbers for each worker's own images"),
        (nn.BatchNorm2d(3, affine=False), "BatchNorm2d (1) has statistics of each worker's own images"),
        (
            nn.BatchNorm2d(3, track_running_stats=False),
            "BatchNorm2d (1) has statistics of each worker's own images",
        ),
        (nn.InstanceNorm2d(3), ""),
        (Shared(), "Dropout (1.drop) draws random numbers for each worker's own images"),
        (nn.BatchNorm2d(3), ""),
        (
            nn.InstanceNorm2d(3, track_running_stats=True),
            "InstanceNorm2d (1) has statistics of each worker's own images",
        ),
    ],
)
def test_a_layer_that_draws_in_another_way_is_found(layer: nn.Module, text: str) -> None:
    network = nn.Sequential(nn.Dropout(0.5), layer, nn.Identity()).to("meta")
    assert layers_that_draw_locally(network, (3, 8, 8), "meta") == ([text] if text else [])


RATES = {"drop_rate": 0.1, "drop_path_rate": 0.2}


@pytest.mark.parametrize(
    ("name", "size", "more"),
    [
        ("conv4", 32, {}),
        ("timm.resnet10t", 32, {**RATES, "drop_block_rate": 0.1}),
        ("timm.mobilenetv3_small_050", 32, RATES),
        ("timm.test_vit", 32, {**RATES, "attn_drop_rate": 0.1, "patch_drop_rate": 0.3, "proj_drop_rate": 0.1}),
        ("timm.test_vit_relpos", 160, {**RATES, "attn_drop_rate": 0.1, "proj_drop_rate": 0.1}),
        ("timm.efficientvit_m0", 64, {"drop_rate": 0.1}),
        ("timm.densenet121", 32, {"drop_rate": 0.1}),
    ],
)
def test_no_layer_of_these_draws_locally(name: str, size: int, more: dict[str, float]) -> None:
    arguments = more if name != "conv4" else {}
    assert local_draws(BackboneConfig.model_validate({"name": name, "weights": "none", **arguments}), size) == []


@pytest.mark.parametrize(
    ("name", "more", "found"),
    [
        ("Noisy", {}, ["Noise (noise) draws random numbers for each worker's own images (with the images as"]),
        ("Noisy", {"train": "none"}, []),
        ("SkipsByPython", {}, ["Skip (skip) draws random numbers for each worker's own images (with the images as"]),
        ("Drops", {}, []),
        ("Maps", {}, []),
        ("make_dynamic", {}, []),
    ],
)
def test_layers_of_a_users_network_are_found(name: str, more: dict[str, Any], found: list[str]) -> None:
    backbone = BackboneConfig.model_validate({"name": f"tests.own_components:{name}", **more})
    texts = local_draws(backbone, 24)
    assert len(texts) == len(found)
    assert all(text.startswith(begin) for text, begin in zip(texts, found, strict=True))


def test_a_network_that_timm_cannot_train_is_refused() -> None:
    backbone = BackboneConfig.model_validate(
        {"name": "timm.samvit_base_patch16", "weights": "none", "patch_drop_rate": 0.2}
    )
    with pytest.raises(
        UserError, match=r"backbone: timm.samvit_base_patch16 cannot be trained with \{'patch_drop_rate'"
    ):
        local_draws(backbone, 64)
