"""Read state dicts from files, and load them into networks."""

import pickle
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mdr_tune.util.errors import UserError
from mdr_tune.util.files import check_on_disk
from mdr_tune.util.words import some

State = dict[str, torch.Tensor]

NAMED = 3
"""Largest number of names in a message. Further names are only counted."""
# Errors that `torch.load` raises for a file that is damaged, or that `torch.save` did not write.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which a checkpoint may hold the state dict of the network, in the order in which timm tries them."""


def load_weights(network: nn.Module, state: State, path: Path, adapt: Callable[[State], State] | None = None) -> None:
    """Load `state` into `network`. The state dict must have all tensors of the network, and no others.

    Args:
        network: network that gets the tensors.
        state: state dict, as `read_state_dict` returns it.
        path: path of the file that `state` was read from, for messages.
        adapt: function that takes `state` and returns the state dict to load, with keys renamed or removed.

    Raises:
        UserError: the state dict does not fit the network, or has numbers that are not finite.
    """
    if adapt is not None:
        adapted = OrderedDict(adapt(state))
        vars(adapted).update(getattr(state, "__dict__", {}))  # versions of the layers, which some layers ask for
        state = adapted
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if "Error(s) in loading" not in line]
        raise UserError(f"backbone.weights: {path} does not fit the network: {some(lines, NAMED)}") from None
    problems = [
        f"{what} {some(keys, NAMED)}" for what, keys in (("lacks", missing), ("has unknown", unexpected)) if keys
    ]
    if problems:
        raise UserError(f"backbone.weights: {path} does not fit the network: it {' and '.join(problems)}")
    odd = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if odd:
        raise UserError(
            f"backbone.weights: {path} has values that are not finite in {some(odd, NAMED)}: take other weights"
        )


def read_state_dict(path: Path) -> State:
    """Return the state dict in the file `path`, written by `torch.save` or by safetensors (`.safetensors`).

    No code in the file is executed. In a checkpoint, the state dict may lie under one of the keys `_WRAPPERS`. Raise
    UserError if the file cannot be read, is damaged, or holds no state dict.
    """
    expected = "a state dict is expected, saved by torch.save(model.state_dict(), path)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on other kinds of files
            check_on_disk(path)
            state: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise UserError(f"backbone.weights: cannot read {path}: {error}") from None
    except _UNREADABLE:  # torch's message advises weights_only=False, which would execute code in the file
        raise UserError(
            f"backbone.weights: cannot read {path}: it is damaged or another kind of file; {expected}"
        ) from None
    if isinstance(state, dict):
        state = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UserError(f"backbone.weights: {path} holds no state dict (names and their tensors); {expected}")
    return state


def _read_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except SafetensorError:
        raise ValueError from None
    return state
