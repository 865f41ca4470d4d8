"""Make torch's random functions, such as `F.dropout`, draw for the global batch in the layers that call them."""

import math
from collections.abc import Callable, Iterator
from functools import cache
from inspect import isfunction
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn
from torch.overrides import TorchFunctionMode

from mdr_tune.training.draws import DrawingLayer

_DRAW_FOR_EACH_IMAGE = {
    ("timm.layers.patch_dropout", "PatchDropout"),
    ("timm.layers.patch_dropout", "PatchDropoutWithIndices"),
    ("timm.models.efficientvit_msra", "ResidualDrop"),
    ("timm.models.hiera", "Hiera"),
}
"""Modules and names of classes that call torch.rand or torch.randn with the number of images as the first size."""
_DRAWING_CALLS = {
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "rrelu",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "lstm",
    "gru",
    "rnn_tanh",
    "rnn_relu",
}
_UNBATCHED = {F.dropout1d: 2, F.dropout3d: 4}
"""Number of dimensions of an input that the function takes for a single image, (C, ...), and not for a batch."""
_FRACTIONAL_POOLS = {
    F.fractional_max_pool2d: 2,
    F.fractional_max_pool2d_with_indices: 2,
    F.fractional_max_pool3d: 3,
    F.fractional_max_pool3d_with_indices: 3,
}
_RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
_SELU_AT_MINUS_INFINITY = -1.7580993408473766
_multi_head_attention: Any = FunctionType(
    F.multi_head_attention_forward.__code__, {**vars(F), "has_torch_function": lambda inputs: False}
)
"""Torch's own function, changed so that a `TorchFunctionMode` gets the functions that it calls, and not itself."""
_multi_head_attention.__defaults__ = F.multi_head_attention_forward.__defaults__


class _FunctionsDrawGlobally(TorchFunctionMode):
    """Context manager in which torch's random functions, such as `F.dropout`, draw for the global batch.

    With `for_each_image`, for layers of `_DRAW_FOR_EACH_IMAGE`, torch.rand and torch.randn do so too. Functions draw as
    usual if the input does not have equally many rows for each image, and recurrent layers with packed sequences.
    """

    def __init__(self, layer: DrawingLayer, for_each_image: bool) -> None:
        super().__init__()
        self._layer, self._for_each_image = layer, for_each_image

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the result of `func`, whose random numbers, if it draws any, are those of the global batch."""
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:  # torch leaves the mode while this method runs
                return _multi_head_attention(*args, **kwargs)
        if func in _RECURRENT:
            return self._recurrent(func, *args)
        if func in (torch.rand, torch.randn) and self._for_each_image:
            return self._numbers(torch.Size(args if isinstance(args[0], int) else args[0]), func, **kwargs)
        instead = self._instead_of(func)
        inputs: Any = args[0] if args else next(iter(kwargs.values()), None)
        if instead is None or not self._layer.draws.are_of(len(inputs)):
            return func(*args, **kwargs)
        return instead(func, *args, **kwargs)

    def _instead_of(self, func: Any) -> Callable[..., torch.Tensor] | None:
        if func in (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d):
            return self._dropout
        if func in (F.alpha_dropout, F.feature_alpha_dropout):
            return self._alpha_dropout
        if func is F.scaled_dot_product_attention:
            return self._attention
        if func is F.rrelu:
            return self._rrelu
        return self._fractional_pool if func in _FRACTIONAL_POOLS else None

    def _numbers(
        self, shape: torch.Size, func: Any, device: Any = None, dtype: torch.dtype | None = None, **more: Any
    ) -> torch.Tensor:
        is_normal, device = func is torch.randn, torch.device(device or "cpu")
        return self._layer.draws.numbers(self._layer.layer, shape, is_normal, device).to(dtype or torch.float32)

    def _dropout(
        self, func: Any, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or p == 0:
            return input
        dims = input.ndim - 1 if func is F.dropout else int(input.ndim != _UNBATCHED.get(func))
        return self._layer.dropped(input, dims, p)

    def _alpha_dropout(
        self, func: Any, input: torch.Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
    ) -> torch.Tensor:
        """Set dropped elements to SELU's value at minus infinity, and keep mean and variance, as torch does in C++."""
        if not training or p == 0:
            return input
        if p == 1:
            return input * 0
        dims = 1 if func is F.feature_alpha_dropout else input.ndim - 1
        kept = (self._layer.mask(input, dims, p) > 0).to(input.dtype)
        low = _SELU_AT_MINUS_INFINITY
        deviation = math.sqrt((1 - p) * (1 + p * low**2))
        return (kept * input + (1 - kept) * low - p * low) / deviation

    def _rrelu(
        self,
        func: Any,
        input: torch.Tensor,
        lower: float = 1 / 8,
        upper: float = 1 / 3,
        training: bool = False,
        inplace: bool = False,
    ) -> torch.Tensor:
        if not training:
            return F.rrelu(input, lower, upper)
        slopes = lower + (upper - lower) * self._numbers(input.shape, torch.rand, input.device, input.dtype)
        return torch.where(input > 0, input, input * slopes)

    def _fractional_pool(self, func: Any, input: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        dims = _FRACTIONAL_POOLS[func]
        if kwargs.get("_random_samples") is None and input.ndim == dims + 2:
            shape = torch.Size([*input.shape[:2], dims])
            kwargs["_random_samples"] = self._numbers(shape, torch.rand, input.device, input.dtype)
        return func(input, *args, **kwargs)

    def _attention(
        self,
        func: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **more: Any,
    ) -> torch.Tensor:
        if dropout_p == 0 or more.get("enable_gqa"):
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

    def _recurrent(self, func: Any, input: torch.Tensor, hx: Any, weights: Any, *args: Any) -> tuple[torch.Tensor, ...]:
        """Call the recurrent network `func` for one of its layers after another, and drop elements in between."""
        biases, layers, p, training, bidirectional, batch_first = args
        is_packed = not isinstance(biases, bool)
        images_dim = 0 if batch_first else 1
        if is_packed or not training or p == 0 or not self._layer.draws.are_of(input.shape[images_dim]):
            return func(input, hx, weights, *args)  # type: ignore[no-any-return]
        states = hx if isinstance(hx, tuple | list) else (hx,)  # (layers * directions, n, F) each
        ends = []
        for number, (own, *own_states) in enumerate(
            zip(_chunks(weights, layers), *(state.chunk(layers) for state in states), strict=True)
        ):
            if number > 0:
                images_first = input.transpose(0, images_dim)
                input = self._layer.dropped(images_first, 2, p).transpose(0, images_dim)
            begin = tuple(own_states) if func is torch.lstm else own_states[0]
            input, *end = func(input, begin, own, biases, 1, 0.0, training, bidirectional, batch_first)
            ends.append(end)
        return (input, *(torch.cat(parts) for parts in zip(*ends, strict=True)))


def _chunks(weights: Any, count: int) -> Iterator[list[torch.Tensor]]:
    size = len(weights) // count
    return (list(weights[start : start + size]) for start in range(0, len(weights), size))


def chances(layer: nn.Module) -> Iterator[float]:
    """Yield the dropout probabilities of `layer`: its attributes with `drop` in the name, and its Dropout children."""
    yield from (value for name, value in vars(layer).items() if "drop" in name and isinstance(value, int | float))
    yield from (child.p for child in layer.children() if isinstance(child, nn.modules.dropout._DropoutNd))


def with_global_functions(layer: nn.Module) -> type[nn.Module] | None:
    """Return a subclass of the class of `layer` in which, in training, torch's functions draw for the global batch.

    Return None if the layer calls no function that draws, or if all its probabilities to drop are 0.
    """
    own = list(chances(layer))
    if own and not any(own):
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
        def drawing(self: DrawingLayer, *args: Any, **kwargs: Any) -> Any:
            if not self.training:
                return method(self, *args, **kwargs)
            with _FunctionsDrawGlobally(self, for_each_image):
                return method(self, *args, **kwargs)

        return drawing

    methods = {name: globally(getattr(kind, name)) for name in names}
    return type(f"Global{kind.__name__}", (DrawingLayer, kind), methods)


def _calls_dropout(kind: type[nn.Module], name: str) -> bool:
    """Return whether the method `name` of `kind`, or a method that it overrides, calls one of `_DRAWING_CALLS`."""
    if issubclass(kind, DrawingLayer):
        return False
    methods = [vars(base).get(name) for base in kind.__mro__]
    return any(isfunction(method) and _DRAWING_CALLS & {*method.__code__.co_names} for method in methods)
