"""Find the layers of a network whose random numbers or statistics depend on the number of ranks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
from mdr_tune.util.words import first_line

_IMAGES = {"meta": 101, "cpu": 2}
"""Number of images that a network is tried with. A prime number shows which layers get tensors without images in them.
"""


class _Watch(TorchDispatchMode):
    """Notes the layers in which torch's global generator draws.

    Attributes:
        inside: Names and layers that are being computed, the innermost last.
        found: Kinds of layers with an example's name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[tuple[str, nn.Module]] = []
        self.found: dict[str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        takes = func._schema.arguments
        given = {argument.name: argument.default_value for argument in takes if argument.has_default_value()}
        given |= {argument.name: value for argument, value in zip(takes, args, strict=False)} | kwargs
        draws = torch.Tag.nondeterministic_seeded in func.tags and given.get("generator") is None
        if draws and given.get("dropout_p", 1) > 0:  # attention may drop, and mostly does not
            name, layer = self.inside[-1]
            self.found.setdefault(type(layer).__name__.removeprefix("Global"), name)
        return func(*args, **kwargs)


def local_draws(backbone: BackboneConfig, image_size: int) -> list[str]:
    """Return a text for each kind of layer of `backbone` that does not compute on W ranks what it computes on one.

    Such layers draw from torch's global generator, in a way that `make_draws_global` does not know, or have statistics
    of a rank's own images. The network is made on torch's meta device, so that it takes no memory, and no file is read.
    Only a network whose shapes depend on its draws is made in memory. Families whose layers are all known are not
    looked at.
    """
    if family_of(backbone.name).draws_by_known_layers():
        return []
    for device in ("meta", "cpu"):
        with torch.device(device):
            network = build_backbone(
                backbone.name, backbone.weights, load=False, image_size=image_size, arguments=backbone.arguments
            )
        try:
            return layers_that_draw_locally(network, (network.in_channels, image_size, image_size), device)
        except Exception as error:  # of the meta device, or of a library that checks little
            if device == "cpu":
                raise UserError(
                    f"backbone: {backbone.name} cannot be trained with {backbone.arguments}: {first_line(error)}"
                ) from None
    return []


def local_draws_of(sweep: SweepConfig) -> tuple[str, ...]:
    """Return the texts of `local_draws` for all backbones of `sweep` at all its image sizes."""
    sizes = {data.input_shape[-1] for data in section_variants(sweep.trial, sweep.space, "data")}
    backbones = section_variants(sweep.trial, sweep.space, "backbone")
    found = [text for backbone in backbones for size in sorted(sizes) for text in local_draws(backbone, size)]
    return tuple(dict.fromkeys(found))


def layers_that_draw_locally(network: nn.Module, shape: tuple[int, ...], device: str) -> list[str]:
    """Return the texts of `local_draws` for a `network` on `device` that takes images of `shape` (C, H, W).

    `network` is changed by `make_draws_global`, and left in training mode.
    """
    images = _IMAGES[device]
    make_draws_global(network.train()).at((0,), images, slice(0, images))
    with _watching(network) as watch, torch.no_grad():
        network(torch.zeros(images, *shape, device=device))
    texts = [f"{kind} ({name}) draws random numbers for each worker's own images" for kind, name in watch.found.items()]
    local = {
        type(layer).__name__: name
        for name, layer in network.named_modules()
        if "running_var" in layer._buffers and global_kind(layer) is None
    }
    return texts + [f"{kind} ({name}) has statistics of each worker's own images" for kind, name in local.items()]


@contextmanager
def _watching(network: nn.Module) -> Iterator[_Watch]:
    watch, handles = _Watch(), []
    for name, layer in network.named_modules():
        handles.append(layer.register_forward_pre_hook(lambda layer, _, name=name: watch.inside.append((name, layer))))
        handles.append(layer.register_forward_hook(lambda *_: watch.inside.pop() and None))
    try:
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()
