"""Dropout, stochastic depth and their like, whose draws depend neither on the number of ranks nor on chunks of a batch.

A mask says which activations of each image are dropped. In each step, each layer draws one mask for all images of the
global batch, from a seed of the step. It applies those rows of the mask that belong to the images it is given. The
activations that an image loses therefore do not depend on the rank or the chunk in which it is embedded.
"""

import re
import sys
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from mdr_tune.metric.transfer import send
from mdr_tune.training.draws import DrawingLayer, Draws
from mdr_tune.training.global_functions import chances, with_global_functions

_WITHOUT_IMAGES = re.compile(r"\.(rel_pos\.mlp|meta_mlp)\.")
"""Names of timm's layers that compute the attention's bias from positions, without any image."""


class GlobalDropout(DrawingLayer, nn.Dropout):
    """`nn.Dropout` that draws its mask for the global batch.

    Attributes:
        images_dim: Index of the inputs' dimension that counts images. None: there is none; all ranks draw one mask.
    """

    images_dim: int | None = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop single elements of `inputs`, of any shape."""
        if not self.training or self.p == 0:
            return inputs
        if self.images_dim is None:
            return self.dropped(inputs[None], inputs.ndim, self.p, same_for_all=True)[0]
        images_first = inputs.transpose(0, self.images_dim)
        if not self.draws.are_of(len(images_first)):
            return super().forward(inputs)
        return self.dropped(images_first, inputs.ndim - 1, self.p).transpose(0, self.images_dim)


@cache
def _layers_of_torchvision() -> dict[type, type]:
    """Return replacements of torchvision's layers, by class. They are declared here because they import torchvision."""
    from torchvision.ops import StochasticDepth

    class GlobalStochasticDepth(DrawingLayer, StochasticDepth):
        """`torchvision.ops.StochasticDepth` that draws its mask for the global batch."""

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            """Drop whole images of the inputs (n, ...); in the mode `batch`, drop all images or none."""
            if not self.training or self.p == 0:
                return inputs
            return self.dropped(inputs, 0, cast(float, self.p), same_for_all=self.mode == "batch")

    return {StochasticDepth: GlobalStochasticDepth}


@cache
def _layers_of_timm() -> dict[type, type]:
    """Return replacements of timm's layers, by class. They are declared here because they import timm."""
    from timm.layers import DropBlock2d, DropPath

    class GlobalDropPath(DrawingLayer, DropPath):
        """timm's stochastic depth, which draws its mask for the global batch."""

        drop_prob: float
        scale_by_keep: bool

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Drop whole images, or parts of images such as windows, of `x` (n, ...)."""
            if not self.training or self.drop_prob == 0:
                return x
            if not self.draws.are_of(len(x)):
                return cast(torch.Tensor, super().forward(x))
            kept = self.dropped(x, 0, self.drop_prob)
            return kept if self.scale_by_keep else kept * (1 - self.drop_prob)

    class GlobalDropBlock2d(DrawingLayer, DropBlock2d):
        """timm's DropBlock, which draws its blocks for the global batch, and scales by what is kept of that batch."""

        drop_prob: float
        gamma_scale: float
        block_size: int
        with_noise: bool
        couple_channels: bool
        scale_by_keep: bool

        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Drop square blocks of `x` (n, C, H, W). With `with_noise`, timm's own code draws for each rank."""
            if not self.training or not self.drop_prob or self.with_noise:
                return cast(torch.Tensor, super().forward(x))
            _, channels, height, width = x.shape
            size = (min(self.block_size, height), min(self.block_size, width))
            centres = (height - size[0] + 1) * (width - size[1] + 1)
            gamma = self.gamma_scale * self.drop_prob * height * width / (size[0] * size[1]) / centres
            shape = torch.Size((1 if self.couple_channels else channels, height, width))
            blocks = (self.draws.of_whole_batch(self.layer, shape) < gamma).float()
            blocks = F.max_pool2d(blocks, size, stride=1, padding=(size[0] // 2, size[1] // 2))
            keep = 1 - blocks[..., (size[0] + 1) % 2 :, (size[1] + 1) % 2 :]  # an even block makes one row too many
            if self.scale_by_keep:
                keep = keep * (keep.numel() / (keep.sum() + 1e-7))
            return x * send(keep[self.draws.rows], x.device).to(x.dtype)

    return {DropPath: GlobalDropPath, DropBlock2d: GlobalDropBlock2d}


def make_draws_global(network: nn.Module) -> Draws:
    """Make each layer of `network` that drops something draw for the global batch; return the source of the draws.

    `network` is changed in place: layers of torch, torchvision and timm get subclasses of their classes. A layer that
    calls torch's dropout functions gets a subclass whose calls draw for the global batch. Attention that drops is
    computed step by step, since fused kernels draw themselves. `layers_that_draw_locally` finds layers that remain.
    """
    draws = Draws()
    kinds: dict[type, type] = {nn.Dropout: GlobalDropout}
    # A library that is not imported has no layers in the network, and its import takes seconds.
    if "torchvision" in sys.modules:
        kinds |= _layers_of_torchvision()
    if "timm" in sys.modules:
        kinds |= _layers_of_timm()
    for number, layer in enumerate(network.modules()):
        if getattr(layer, "fused_attn", False) and any(chances(layer)):
            layer.fused_attn = False  # type: ignore[assignment]
        kind = kinds.get(type(layer)) or with_global_functions(layer)
        if kind is not None:
            layer.__class__ = kind  # the state is kept; only methods and the two attributes that follow are new
            dropping = cast(DrawingLayer, layer)
            dropping.layer, dropping.draws = number, draws
    for name, layer in network.named_modules():
        if isinstance(layer, GlobalDropout) and _WITHOUT_IMAGES.search(name):
            layer.images_dim = None
        if isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
            for dropout in layer.children():
                if isinstance(dropout, GlobalDropout):
                    dropout.images_dim = 0 if layer.self_attn.batch_first else 1
    return draws
