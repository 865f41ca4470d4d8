"""Dropout, stochastic depth and their like, whose draws depend neither on the number of ranks nor on chunks of a batch.

A mask says which activations of each image are dropped. In each step, each layer draws one mask for all images of the
global batch, from a seed of the step. It applies those rows of the mask that belong to the images it is given. The
activations that an image loses therefore do not depend on the rank or the chunk in which it is embedded.
"""

import itertools
import re
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from inspect import isfunction
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn
from torch.overrides import TorchFunctionMode

from mdr_tune.data.seeding import derive_seed
from mdr_tune.metric.transfer import send


class Draws:
    """Source of the random masks of a network's dropout layers. In training, `at` is called before each forward pass.

    Attributes:
        step: Numbers that identify the optimiser step: seed of the trial, epoch, number of the step within the epoch.
        batch_size: Number of images in the global batch, B.
        rows: Images of the global batch that the next forward pass gets.
    """

    def __init__(self) -> None:
        self.step: tuple[int, ...] = ()
        self.batch_size = 0
        self.rows = slice(0)
        self._calls: dict[int, int] = {}
        self._number = next(_numbers)
        _draws[self._number] = self

    def at(self, step: tuple[int, ...], batch_size: int, rows: slice) -> None:
        """Prepare for a forward pass on the images `rows`: set the attributes `step`, `batch_size` and `rows`."""
        self.step, self.batch_size, self.rows = step, batch_size, rows
        self._calls = {}

    def keep_mask(
        self, layer: int, shape: torch.Size, probability: float, like: torch.Tensor, same_for_all: bool = False
    ) -> torch.Tensor:
        """Return a mask to multiply activations by: (n, *`shape`) of 0 to drop or 1 / (1 - probability) to keep.

        Args:
            layer: Number of the layer. A second call for the same layer in a forward pass draws anew.
            shape: Shape of the mask of one image, or of one part of an image.
            probability: Probability to drop, in [0, 1].
            like: (n, ...), a tensor with the dtype and the device of the mask; n is the number of `rows`, or a multiple
                of it if the layer gets several parts of each image, one image after the other (Swin's windows).
            same_for_all: Whether one draw, (1, *shape), is made for all images of the global batch.
        """
        if torch.compiler.is_compiling():
            # The compiler does not look into this operation. A generator in sight of the compiler would break the
            # network into pieces, and no more than eight pieces are compiled.
            op = torch.ops.mdr_tune.keep_mask
            return cast(torch.Tensor, op(like.detach(), self._number, layer, list(shape), probability, same_for_all))
        if same_for_all:
            numbers = torch.rand((1, *shape), generator=self._generator(layer))
        else:
            numbers = self._rows_of(torch.rand, layer, len(like), shape)
        scale = 0.0 if probability >= 1 else 1.0 / (1.0 - probability)
        return send(numbers >= probability, like.device).to(like.dtype) * scale

    def numbers(self, layer: int, shape: torch.Size, normal: bool, device: torch.device) -> torch.Tensor:
        """Return random numbers of the images `rows`, float32 of `shape`: normally distributed, or uniform in [0, 1).

        The first dimension of `shape` is n, the number of `rows`, or a multiple of it. `layer` is as in `keep_mask`.
        """
        if torch.compiler.is_compiling():
            return cast(torch.Tensor, torch.ops.mdr_tune.numbers(self._number, layer, list(shape), normal, device))
        return send(self._rows_of(torch.randn if normal else torch.rand, layer, shape[0], shape[1:]), device)

    def of_whole_batch(self, layer: int, shape: torch.Size) -> torch.Tensor:
        """Return numbers in [0, 1) of all images of the global batch, (B, *`shape`), on the CPU."""
        return torch.rand((self.batch_size, *shape), generator=self._generator(layer))

    def are_of(self, length: int) -> bool:
        """Return whether a tensor whose first dimension has `length` can have equally many parts of each image."""
        return len(self) == 0 or length % len(self) == 0

    def __len__(self) -> int:
        """Return the number of images in `rows`."""
        return int(self.rows.stop - self.rows.start)

    def _rows_of(self, draw: Callable[..., torch.Tensor], layer: int, length: int, shape: torch.Size) -> torch.Tensor:
        """Draw for the global batch, and return the part of `rows`: (length, *shape), `length` / n for each image."""
        parts = length // max(len(self), 1)
        numbers = draw((self.batch_size, parts, *shape), generator=self._generator(layer))
        return numbers[self.rows].flatten(0, 1)

    def _generator(self, layer: int) -> torch.Generator:
        call = self._calls[layer] = self._calls.get(layer, -1) + 1
        return torch.Generator().manual_seed(derive_seed("network", *self.step, layer, call))


_draws: "weakref.WeakValueDictionary[int, Draws]" = weakref.WeakValueDictionary()
"""All `Draws` objects that are in use, by number. Torch's custom operations take such a number, but no object."""
_numbers = itertools.count()


@torch.library.custom_op("mdr_tune::keep_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _keep_mask(
    like: torch.Tensor, draws: int, layer: int, shape: list[int], probability: float, same_for_all: bool
) -> torch.Tensor:
    return _draws[draws].keep_mask(layer, torch.Size(shape), probability, like, same_for_all)


@_keep_mask.register_fake
def _(
    like: torch.Tensor, draws: int, layer: int, shape: list[int], probability: float, same_for_all: bool
) -> torch.Tensor:
    return like.new_empty((1 if same_for_all else len(like), *shape))


@torch.library.custom_op("mdr_tune::numbers", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _numbers_of(draws: int, layer: int, shape: list[int], normal: bool, device: torch.device) -> torch.Tensor:
    return _draws[draws].numbers(layer, torch.Size(shape), normal, device)


@_numbers_of.register_fake
def _(draws: int, layer: int, shape: list[int], normal: bool, device: torch.device) -> torch.Tensor:
    return torch.empty(shape, device=device)


class _DrawingLayer(nn.Module):
    """A layer whose random numbers come from `draws`. `layer` is its number in the network."""

    layer: int
    draws: Draws

    def dropped(self, inputs: torch.Tensor, dims: int, probability: float, same_for_all: bool = False) -> torch.Tensor:
        """Return `inputs` (n, ...) with some elements set to 0 and the others scaled up.

        An element of the mask is drawn for each index of the first dimension and of the `dims` dimensions after it.
        """
        shape = torch.Size([*inputs.shape[1 : 1 + dims], *[1] * (inputs.ndim - 1 - dims)])
        return inputs * self.draws.keep_mask(self.layer, shape, probability, inputs, same_for_all)


class GlobalDropout(_DrawingLayer, nn.Dropout):
    """`nn.Dropout` that draws its mask for the global batch.

    Attributes:
        gets_images: Whether the first dimension of the inputs is that of the images. If not, all ranks draw one mask.
    """

    gets_images = True

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop single elements of `inputs` (n, ...)."""
        if not self.training or self.p == 0:
            return inputs
        if not self.gets_images:
            return self.dropped(inputs[None], inputs.ndim, self.p, same_for_all=True)[0]
        if not self.draws.are_of(len(inputs)):
            return super().forward(inputs)
        return self.dropped(inputs, inputs.ndim - 1, self.p)


class _GlobalChannelDropout(_DrawingLayer, nn.modules.dropout._DropoutNd):
    """`nn.Dropout1d`, `nn.Dropout2d` or `nn.Dropout3d` that draws its mask for the global batch."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop whole channels of `inputs` (n, C, ...)."""
        return self.dropped(inputs, 1, self.p) if self.training and self.p > 0 else inputs


@cache
def _layers_of_torchvision() -> dict[type, type]:
    """Return the replacements of torchvision's layers. They are declared in a function because they import it."""
    from torchvision.ops import StochasticDepth

    class GlobalStochasticDepth(_DrawingLayer, StochasticDepth):
        """`torchvision.ops.StochasticDepth` that draws its mask for the global batch."""

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            """Drop whole images of the inputs (n, ...); in the mode `batch`, drop all images or none."""
            if not self.training or self.p == 0:
                return inputs
            return self.dropped(inputs, 0, cast(float, self.p), same_for_all=self.mode == "batch")

    return {StochasticDepth: GlobalStochasticDepth}


@cache
def _layers_of_timm() -> dict[type, type]:
    """Return the replacements of timm's layers. They are declared in a function because they import it."""
    from timm.layers import DropBlock2d, DropPath

    class GlobalDropPath(_DrawingLayer, DropPath):
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

    class GlobalDropBlock2d(_DrawingLayer, DropBlock2d):
        """timm's DropBlock, whose blocks and their share of the batch are those of the global batch."""

        drop_prob: float
        gamma_scale: float
        block_size: int
        with_noise: bool
        couple_channels: bool
        scale_by_keep: bool

        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Drop square blocks of `x` (n, C, H, W). Noise in their place (`with_noise`) is not drawn globally."""
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


_DRAW_FOR_EACH_IMAGE = {
    ("timm.layers.patch_dropout", "PatchDropout"),
    ("timm.layers.patch_dropout", "PatchDropoutWithIndices"),
    ("timm.models.efficientvit_msra", "ResidualDrop"),
    ("timm.models.hiera", "Hiera"),
}
"""Modules and names of classes that call torch.rand or torch.randn with the number of images as the first size."""
_WITHOUT_IMAGES = re.compile(r"\.(rel_pos\.mlp|meta_mlp)\.")
"""Names of timm's layers that compute the attention's bias from positions, without any image."""
_DRAWING_CALLS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "scaled_dot_product_attention"}


class _FunctionsDrawGlobally(TorchFunctionMode):
    """In its block, torch's dropout functions draw for the global batch.

    So do the dropout of attention, and torch.rand and torch.randn in the layers of `_DRAW_FOR_EACH_IMAGE`.
    """

    def __init__(self, layer: _DrawingLayer, for_each_image: bool) -> None:
        super().__init__()
        self._layer, self._for_each_image = layer, for_each_image

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call `func`, or do what it does with numbers of the global batch."""
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func in (F.dropout1d, F.dropout2d, F.dropout3d):
            return self._dropout(*args, **{**kwargs, "dims": 1})
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in (torch.rand, torch.randn) and self._for_each_image:
            shape = torch.Size(args if isinstance(args[0], int) else args[0])
            device = torch.device(kwargs.get("device") or "cpu")
            numbers = self._layer.draws.numbers(self._layer.layer, shape, func is torch.randn, device)
            return numbers.to(kwargs.get("dtype") or numbers.dtype)
        return func(*args, **kwargs)

    def _dropout(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, dims: int | None = None
    ) -> torch.Tensor:
        if not training or p == 0:
            return input
        if not self._layer.draws.are_of(len(input)):
            return (F.dropout if dims is None else F.dropout2d)(input, p)
        return self._layer.dropped(input, input.ndim - 1 if dims is None else dims, p)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **more: Any,
    ) -> torch.Tensor:
        if dropout_p == 0 or more.get("enable_gqa") or not self._layer.draws.are_of(len(query)):
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal=is_causal, scale=scale, **more
            )
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        shares = scores.softmax(-1)
        return self._layer.dropped(shares, shares.ndim - 1, dropout_p) @ value


def make_draws_global(network: nn.Module) -> Draws:
    """Make each layer of `network` that drops something draw for the global batch; return the source of the draws.

    `network` is changed in place: layers of torch, torchvision and timm get subclasses of their classes. A layer that
    calls torch's dropout functions gets one whose calls draw for the global batch. Attention that drops is computed
    step by step, since the fused kernels draw themselves. `undrawn_layers` finds what still draws otherwise.
    """
    draws = Draws()
    kinds: dict[type, type] = {nn.Dropout: GlobalDropout}
    kinds |= dict.fromkeys((nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), _GlobalChannelDropout)
    # A library that is not imported has no layers in the network, and its import takes seconds.
    if "torchvision" in sys.modules:
        kinds |= _layers_of_torchvision()
    if "timm" in sys.modules:
        kinds |= _layers_of_timm()
    for number, layer in enumerate(network.modules()):
        if getattr(layer, "fused_attn", False) and any(_chances(layer)):
            layer.fused_attn = False  # type: ignore[assignment]
        kind = kinds.get(type(layer)) or _with_global_functions(layer)
        if kind is not None:
            layer.__class__ = kind  # the state is kept; only methods and the two attributes that follow are new
            dropping = cast(_DrawingLayer, layer)
            dropping.layer, dropping.draws = number, draws
    for name, layer in network.named_modules():
        if isinstance(layer, GlobalDropout) and _WITHOUT_IMAGES.search(name):
            layer.gets_images = False
    return draws


def _chances(layer: nn.Module) -> Iterator[float]:
    """Yield the probabilities to drop that `layer` itself and the Dropout layers in it have as attributes."""
    yield from (value for name, value in vars(layer).items() if "drop" in name and isinstance(value, int | float))
    yield from (child.p for child in layer.children() if isinstance(child, nn.modules.dropout._DropoutNd))


def _with_global_functions(layer: nn.Module) -> type[nn.Module] | None:
    """Return a subclass of the class of `layer` whose dropout functions draw for the global batch.

    None if the layer calls none, or if all its probabilities to drop are 0.
    """
    chances = list(_chances(layer))
    if chances and not any(chances):
        return None
    kind: Any = type(layer)
    return _subclass_with_global_functions(kind)


@cache
def _subclass_with_global_functions(kind: Any) -> type[nn.Module] | None:
    for_each_image = (kind.__module__, kind.__name__) in _DRAW_FOR_EACH_IMAGE
    names = {name for name in dir(kind) if _calls_dropout(kind, name)} | ({"forward"} if for_each_image else set())
    if not names:
        return None

    def globally(method: Callable[..., Any]) -> Callable[..., Any]:
        def drawing(self: _DrawingLayer, *args: Any, **kwargs: Any) -> Any:
            with _FunctionsDrawGlobally(self, for_each_image):
                return method(self, *args, **kwargs)

        return drawing

    methods = {name: globally(getattr(kind, name)) for name in names}
    return type(f"Global{kind.__name__}", (_DrawingLayer, kind), methods)


def _calls_dropout(kind: type[nn.Module], name: str) -> bool:
    """Return whether the method `name` of `kind`, or a method that it overrides, calls one of torch's functions."""
    if issubclass(kind, _DrawingLayer) or kind.__module__.startswith("torch.nn."):
        return False
    methods = [vars(base).get(name) for base in kind.__mro__ if not base.__module__.startswith("torch.nn.")]
    return any(isfunction(method) and _DRAWING_CALLS & {*method.__code__.co_names} for method in methods)
