"""Find the modules of a user's network that compute with a rank's own images or random numbers."""

from typing import Any

import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.training.batch_norm import global_kind
from mdr_tune.training.global_draws import make_draws_global
from mdr_tune.training.model import EmbeddingModel, ImageShape


def drawing_layers(trial: TrialConfig, image_shape: ImageShape) -> list[str]:
    """Return the names and classes of the modules of `trial`'s network that draw at random by themselves in training.

    Dropout layers that `make_draws_global` takes over are not among them. A module is named if it drew in its own
    `forward`, not in that of a module inside of it. `image_shape` is (C, H, W).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = EmbeddingModel.from_config(trial, pretrained=False).train()
        draws = make_draws_global(model)
        draws.at((0, 0, 0), 2, slice(0, 2))
        return _drawing(model, torch.zeros(2, *image_shape, dtype=torch.uint8))


def unsynced_layers(trial: TrialConfig) -> list[str]:
    """Return the names and classes of `trial`'s BatchNorm layers that `synchronize_batch_norm` does not take over."""
    with torch.random.fork_rng(devices=[]):
        network = EmbeddingModel.from_config(trial, pretrained=False).backbone
    kind = torch.nn.modules.batchnorm._BatchNorm
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, kind)]
    return [_name_of(name, layer) for name, layer in layers if global_kind(layer) is None]


def _name_of(name: str, module: torch.nn.Module) -> str:
    own = name.removeprefix("network").lstrip(".")
    return f"{own} ({type(module).__name__})" if own else type(module).__name__


def _drawing(model: EmbeddingModel, images: torch.Tensor) -> list[str]:
    names = {module: name for name, module in model.backbone.named_modules()}
    found: list[str] = []
    before: list[
        tuple[torch.Tensor, int]
    ] = []  # state of the generator, and the number of modules found, at each start

    def enter(module: Any, inputs: Any) -> None:
        before.append((torch.get_rng_state(), len(found)))

    def leave(module: Any, inputs: Any, output: Any) -> None:
        state, known = before.pop()
        if not torch.equal(state, torch.get_rng_state()) and len(found) == known and module in names:
            found.append(_name_of(names[module], module))

    handles = [handle for module in model.modules() for handle in _hooks(module, enter, leave)]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _hooks(module: torch.nn.Module, enter: Any, leave: Any) -> list[Any]:
    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
