"""Find the layers of a network whose random numbers or statistics depend on the number of ranks."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mdr_tune.backbones import build_backbone
from mdr_tune.backbones.families import family_of
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import BackboneConfig
from mdr_tune.training.batch_norm import global_kind
from mdr_tune.training.global_draws import make_draws_global
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import is_import_path
from mdr_tune.util.words import first_line

_IMAGES = {"meta": 101, "cpu": 11}
"""Number of images that a network is tried with, by device. As a prime number, it divides the first dimension of a
layer's inputs only if they have rows for each image."""


class _Watch(TorchDispatchMode):
    """Records the layers that draw from a global generator of torch, numpy or Python.

    Attributes:
        found: Name of the first layer that draws, by the name of its class.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._inside: list[tuple[str, nn.Module]] = []  # the layers that are being computed, the innermost last
        self._states = _states()

    def enter(self, name: str, layer: nn.Module) -> None:
        """Begin to compute the `layer` called `name`."""
        self._compare_states()
        self._inside.append((name, layer))

    def leave(self) -> None:
        """End the computation of the layer that was entered last."""
        self._compare_states()
        self._inside.pop()

    def _compare_states(self) -> None:
        if self._inside and (states := _states()) != self._states:
            self._states = states
            self._note()

    def _note(self) -> None:
        name, layer = self._inside[-1]
        self.found.setdefault(type(layer).__name__.removeprefix("Global"), name)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        takes = func._schema.arguments
        given = {argument.name: argument.default_value for argument in takes if argument.has_default_value()}
        given |= {argument.name: value for argument, value in zip(takes, args, strict=False)} | kwargs
        draws = torch.Tag.nondeterministic_seeded in func.tags and given.get("generator") is None
        if draws and given.get("dropout_p", 1) > 0:  # attention draws only if its `dropout_p` is above 0
            self._note()
        return func(*args, **kwargs)


def _states() -> tuple[object, ...]:
    """Return the states of Python's and numpy's global generators."""
    _, numbers, position, *_ = numpy.random.get_state(legacy=True)
    return random.getstate(), numpy.asarray(numbers).tobytes(), position


def local_draws(backbone: BackboneConfig, image_size: int, freezes_batch_norm: bool = False) -> list[str]:
    """Return a text for each class of layers of `backbone` whose results depend on the number of ranks.

    Such layers draw from a global generator, in a way that `make_draws_global` does not know, or have statistics of a
    rank's own images, unless the trial `freezes_batch_norm`. The network is made on torch's meta device: it takes no
    memory, and no file is read. Only a network that cannot be made or run there is made in memory. If all layers of the
    family are known, the network is not made, and the list is empty.
    """
    if family_of(backbone.name).draws_by_known_layers():
        return []
    texts: list[str] = []
    for device in ("meta", "cpu"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights that are loaded into a network on the meta device
                torch.default_generator.manual_seed(0)
                network = build_backbone(
                    backbone.name, backbone.weights, load=False, image_size=image_size, arguments=backbone.arguments
                )
                shape = (network.in_channels, image_size, image_size)
                texts = layers_that_draw_locally(
                    network.train(backbone.train != "none"), shape, device, freezes_batch_norm
                )
            break
        except Exception as error:  # of the meta device, of the user's code, or of a library that checks little
            if device == "cpu":
                raise UserError(
                    f"backbone: {backbone.name} cannot be trained with {backbone.arguments}: {first_line(error)}"
                ) from None
    return [_to_author(text) for text in texts] if is_import_path(backbone.name) else texts


def _to_author(text: str) -> str:
    """Return a `text` of `layers_that_draw_locally` with layer names as in the user's own network, and with a hint."""
    hint = "with the images as their first dimension, torch's dropout layers draw for the global batch"
    if "statistics" in text:
        hint = "BatchNorm1d and 2d with their defaults have those of the global batch, and batch_norm: frozen has none"
    return f"{text.replace('(network.', '(').replace(' (network)', '')} ({hint})"


def local_draws_of(sweep: SweepConfig) -> tuple[str, ...]:
    """Return the texts of `local_draws` for all backbones of `sweep` at all its image sizes."""
    sizes = sorted({data.input_shape[-1] for data in section_variants(sweep.trial, sweep.space, "data")})
    modes = section_variants(sweep.trial, sweep.space, "batch_norm")
    found = []
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        trials = [sweep.trial.model_copy(update={"backbone": backbone, "batch_norm": mode}) for mode in modes]
        freezes = all(trial.freezes_batch_norm for trial in trials)
        found += [text for size in sizes for text in local_draws(backbone, size, freezes)]
    return tuple(dict.fromkeys(found))


def layers_that_draw_locally(
    network: nn.Module, shape: tuple[int, ...], device: str, freezes_batch_norm: bool = False
) -> list[str]:
    """Return the texts of `local_draws` for a `network` on `device` that takes images of `shape` (C, H, W).

    `network` must be in the mode that it is trained in. `make_draws_global` changes it.
    """
    images = _IMAGES[device]
    make_draws_global(network).at((0,), images, slice(0, images))
    with _watching(network) as watch, torch.no_grad():
        network(torch.zeros(images, *shape, device=device))
    texts = [f"{kind} ({name}) draws random numbers for each worker's own images" for kind, name in watch.found.items()]
    local = {
        type(layer).__name__: name
        for name, layer in network.named_modules()
        if _has_local_statistics(layer, freezes_batch_norm)
    }
    return texts + [f"{kind} ({name}) has statistics of each worker's own images" for kind, name in local.items()]


def _has_local_statistics(layer: nn.Module, freezes_batch_norm: bool) -> bool:
    is_batch_norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
    keeps = layer._buffers.get("running_var") is not None
    if is_batch_norm and keeps and freezes_batch_norm:
        return False
    return (is_batch_norm or keeps) and global_kind(layer) is None


@contextmanager
def _watching(network: nn.Module) -> Iterator[_Watch]:
    watch, handles = _Watch(), []
    for name, layer in network.named_modules():
        handles.append(layer.register_forward_pre_hook(lambda layer, _, name=name: watch.enter(name, layer)))
        handles.append(layer.register_forward_hook(lambda *_: watch.leave()))
    try:
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()
