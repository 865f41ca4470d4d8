"""The user's own network as a backbone, and trials of it before a launch: its output, its gradients, its weights."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.family import NORMALIZATION_KEYS
from mdr_tune.backbones.pooling import places_of
from mdr_tune.backbones.state_dicts import State, load_weights
from mdr_tune.util.call_arguments import call_arguments
from mdr_tune.util.import_path import CodeError, defined_at, import_named, said

USUAL_SIZE = 224
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's pixels, on the scale 0..1, by channel: red, green, blue."""
_WITHOUT = "network."
"""Beginning of the names of the user's tensors in the state dict of an `ImportedBackbone`."""


class Facts(NamedTuple):
    """What is found out about a network by making it.

    Attributes:
        is_trained: whether its BatchNorm layers have statistics, so that it was trained before.
        has_batch_norm: whether it has BatchNorm layers.
        mean: its own mean of the pixels, on the scale 0..1, by channel; None if it does not say.
        std: its own standard deviation of the pixels; None if it does not say.
        image_size: height and width of the images that it says it takes; None if it does not say.
    """

    is_trained: bool
    has_batch_norm: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    image_size: int | None


class Output(NamedTuple):
    """Shape of a network's output for one image: (F,), (F, h, w) or (T, F)."""

    shape: tuple[int, ...]

    @property
    def feature_size(self) -> int:
        """Length of a feature vector, F."""
        return self.shape[-1] if len(self.shape) == 2 else self.shape[0]

    def describe(self) -> str:
        """Return the shape in words."""
        words = {1: "features (n, {})", 2: "tokens (n, {}, {})", 3: "maps (n, {}, {}, {})"}
        return words[len(self.shape)].format(*self.shape)


class ImportedBackbone(Backbone):
    """Adapter of the user's network with the import path `name`, made with `arguments`; see `docs/own_model.md`.

    The network maps float32 images (n, 3, H, W), `(pixel / 255 - mean) / std`, to features (n, F), to maps
    (n, F, h, w), which are averaged, or to tokens (n, T, F), which are averaged after the first `prefix_tokens`.
    `image_size` is the height and width of the images that the trial run has. The network has the weights that the
    user's code gives it.
    """

    in_channels = 3
    min_image_size = 1

    def __init__(self, name: str, arguments: Mapping[str, Any], image_size: int | None = None) -> None:
        super().__init__()
        self.name = name
        self.network = make_network(name, arguments)
        own = _facts_of(name, self.network)
        self.image_size = image_size or own.image_size or USUAL_SIZE
        mean, std = normalization(own, arguments)
        self.set_normalization(tuple(255 * value for value in mean), tuple(255 * value for value in std))
        tokens = getattr(self.network, "prefix_tokens", getattr(self.network, "num_prefix_tokens", 0))
        self.prefix_tokens = int(tokens)
        self._pools = True
        self.output = try_network(name, arguments, self.image_size)
        self.feature_size = self.output.feature_size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images (n, 3, H, W) to features (n, F); after `without_pooling` to maps or tokens."""
        output: torch.Tensor = self.network(images)
        if not self._pools or output.ndim == 2:
            return output
        return places_of(output, self.prefix_tokens).mean(2)

    def without_pooling(self) -> None:
        """Make `forward` return maps (n, F, h, w) or tokens (n, T, F); ValueError if the network gives features."""
        if len(self.output.shape) == 1:
            raise ValueError(f"{self.name} pools its features itself: leave out embedding.pool")
        self._pools = False

    def load_file(self, state: State, path: Path) -> None:
        """Load `state`, which was read from the file `path`: a state dict of the user's network, or of this adapter."""
        load_weights(self.network, state, path, _of_network)


def _of_network(state: State) -> State:
    if all(key.startswith(_WITHOUT) for key in state):
        return {key.removeprefix(_WITHOUT): tensor for key, tensor in state.items()}
    return state


def make_network(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return what the user's class or function `name` gives for `arguments`.

    Those of `NORMALIZATION_KEYS` that it does not take are left out.

    Raises:
        CodeError: The arguments do not fit its signature, it raises an error, or it gives no `torch.nn.Module`.
    """
    function = import_named(name)
    taken = call_arguments(function)
    given = {key: value for key, value in arguments.items() if key not in NORMALIZATION_KEYS or key in taken.defaults}
    checked = taken.check(name, given)
    try:
        network = function(**checked)
    except Exception as error:  # whatever the user's code raises
        shown = ", ".join(f"{key}={value!r}" for key, value in checked.items())
        raise CodeError(f"{name}({shown}) fails: {said(error)}") from None
    if not isinstance(network, nn.Module):
        raise CodeError(f"{name}{defined_at(function)} gives a {type(network).__name__}: return a torch.nn.Module")
    return network


def facts(name: str, arguments: Mapping[str, Any]) -> Facts:
    """Return facts about the network `name` with `arguments`, for which it is made once. They are cached.

    Raises:
        CodeError: The network cannot be made, or its own mean, std or image_size is no such thing.
    """
    found = _facts(name, import_named(name), json.dumps(dict(arguments), sort_keys=True, default=str))
    if isinstance(found, CodeError):
        raise found
    return found


@lru_cache(maxsize=256)
def _facts(name: str, function: Callable[..., Any], canonical_arguments: str) -> Facts | CodeError:
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return _facts_of(name, make_network(name, json.loads(canonical_arguments)))
    except CodeError as error:
        return error


def _facts_of(name: str, network: nn.Module) -> Facts:
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    means = [layer.running_mean for layer in norms if layer.running_mean is not None]
    size = getattr(network, "image_size", None)
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        size = size[0]
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise CodeError(f"{name}{defined_at(type(network))}: image_size must be a number of pixels, got {size!r}")
    return Facts(
        is_trained=any(bool(mean.any()) for mean in means if not mean.is_meta),
        has_batch_norm=bool(norms),
        mean=_three_numbers(name, network, "mean"),
        std=_three_numbers(name, network, "std"),
        image_size=size,
    )


def _three_numbers(name: str, network: nn.Module, key: str) -> tuple[float, ...] | None:
    value = getattr(network, key, None)
    if value is None or (callable(value) and not isinstance(value, nn.Module)):
        return None
    if isinstance(value, torch.Tensor):
        value = [round(number, 7) for number in value.flatten().tolist()]  # float32 has seven digits
    if problem := _problem_of(value, key):
        raise CodeError(f"{name}{defined_at(type(network))}: its {key} {problem}")
    return tuple(map(float, value))


def _problem_of(value: Any, key: str) -> str | None:
    """Return what is wrong with the `value` of the `key` `mean` or `std`; None if it is three numbers on 0..1."""
    numbers = value if isinstance(value, list | tuple) else []
    if len(numbers) != 3 or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        return f"must be three numbers, of red, green and blue, got {value!r}"
    low = 0 if key.endswith("mean") else 1e-6
    if not all(low <= one <= 1 for one in numbers):
        fix = ": divide it by 255" if max(numbers) > 1 else ""
        return f"must be on the scale of 0 to 1, got {value!r}{fix}"
    return None


def normalization_problem(arguments: Mapping[str, Any]) -> str | None:
    """Return `key: problem` if `input_mean` or `input_std` in `arguments` is no such thing; else None."""
    for key in NORMALIZATION_KEYS:
        if arguments.get(key) is not None and (problem := _problem_of(arguments[key], key)):
            return f"{key}: {problem}"
    return None


def normalization(own: Facts, arguments: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of the pixels, on 0..1: the file's, the network's, or ImageNet's."""
    mean = arguments.get("input_mean") or own.mean or IMAGENET[0]
    std = arguments.get("input_std") or own.std or IMAGENET[1]
    return tuple(mean), tuple(std)


def try_network(name: str, arguments: Mapping[str, Any], image_size: int) -> Output:
    """Return the shape of the network's output for an image of `image_size`. Results are cached.

    The network is made, and run on two random images, in evaluation and in training.

    Raises:
        CodeError: It does not take the images, its output has another form, or numbers or gradients are not finite.
    """
    found = _try(name, import_named(name), json.dumps(dict(arguments), sort_keys=True, default=str), image_size)
    if isinstance(found, CodeError):
        raise found
    return found


@lru_cache(maxsize=256)
def _try(name: str, function: Callable[..., Any], canonical_arguments: str, size: int) -> Output | CodeError:
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(0)
            network = make_network(name, json.loads(canonical_arguments))
            images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
            return run_network(name, network, images)
    except CodeError as error:
        return error


def run_network(name: str, network: nn.Module, images: torch.Tensor) -> Output:
    """Run `network` on `images` (n, 3, H, W) in evaluation and in training; CodeError if a number is not finite."""
    where, wanted = (
        f"{name}{defined_at(type(network).forward)}",
        "give features (n, F), maps (n, F, h, w) or tokens (n, T, F)",
    )
    with torch.no_grad():
        output = output_of(name, network.eval(), images)
    if not isinstance(output, torch.Tensor):
        raise CodeError(f"{where} gives a {type(output).__name__}: {wanted}, as a tensor")
    shape = f"({', '.join(map(str, output.shape))})"
    if not output.is_floating_point():
        raise CodeError(f"{where} gives {output.dtype}: {wanted}, of floating-point numbers")
    if output.ndim not in (2, 3, 4) or len(output) != len(images) or output.numel() == 0:
        raise CodeError(f"{where} gives a tensor of shape {shape} for {len(images)} images: {wanted}")
    if not output.isfinite().all():
        raise CodeError(f"{where} gives numbers that are not finite for random images")
    trained = output_of(name, network.train(), images)
    parameters = [one for one in network.parameters() if one.requires_grad]
    if parameters and trained.requires_grad:
        gradients = torch.autograd.grad(trained.float().square().mean(), parameters, allow_unused=True)
        if not all(one is None or one.isfinite().all() for one in gradients):
            raise CodeError(f"{where}: its gradients are not finite for random images")
    return Output(tuple(output.shape[1:]))


def output_of(name: str, network: nn.Module, images: torch.Tensor) -> Any:
    """Return what `network` gives for `images`. An error of the user's code is raised as CodeError."""
    try:
        return network(images)
    except Exception as error:  # whatever the user's code raises
        shape = f"({', '.join(map(str, images.shape))})"
        raise CodeError(f"{name} fails on images {shape}: {said(error)}") from None


def plan_notes(name: str, weights: str, size: int, arguments: Mapping[str, Any]) -> list[str]:
    """Return sentences for the plan on the network `name`: its output, its weights, its normalisation."""
    own, output = facts(name, arguments), try_network(name, arguments, size)
    pooled = "" if len(output.shape) == 1 else ", which are averaged,"
    notes = [f"backbone {name} gives {output.describe()}{pooled} for images of {size} x {size}"]
    from_file = weights not in ("none", "DEFAULT")
    if not from_file:
        notes.append(f"backbone.weights {weights}: training starts from the weights that {name} makes")
    if own.has_batch_norm:
        why = "statistics of an earlier training" if own.is_trained else "no statistics yet"
        mode = "frozen" if own.is_trained or from_file else "synced"
        notes.append(f"the BatchNorm layers that {name} makes have {why}: batch_norm auto is {mode}")
    absent = [key for key in ("mean", "std") if getattr(own, key) is None and not arguments.get(f"input_{key}")]
    if absent:
        notes.append(
            f"{name} has no attribute {' and no '.join(absent)}: images are normalised as ImageNet's. If that is wrong,"
            f" write backbone: {{{', '.join(f'input_{key}: [0.5, 0.5, 0.5]' for key in absent)}, ...}}"
        )
    return notes
