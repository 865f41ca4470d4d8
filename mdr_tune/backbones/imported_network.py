"""The user's own network as a backbone, and trials of it before a launch: its output, its gradients, its weights."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import nn

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.family import NORMALIZATION_KEYS
from mdr_tune.backbones.pooling import places_of
from mdr_tune.backbones.state_dicts import State, load_weights
from mdr_tune.util.call_arguments import call, call_arguments
from mdr_tune.util.import_path import FAILURES, CodeError, defined_at, import_named, said
from mdr_tune.util.words import some

USUAL_SIZE = 224
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's pixels, on the scale 0..1, by channel: red, green, blue."""
_RUNS = 4
"""Number of runs in training of a network that draws at random, which may leave out some of its parameters."""
_SHOWN = 4
"""Largest number of names that a note lists."""
_WITHOUT = "network."
"""Beginning of the names of the user's tensors in the state dict of an `ImportedBackbone`."""


class Facts(NamedTuple):
    """Properties of a user's network, which are known once it is made.

    Attributes:
        is_trained: whether its BatchNorm layers have statistics, so that it was trained before.
        has_batch_norm: whether it has BatchNorm layers.
        mean: its attribute `mean`: mean of the pixels, on the scale 0..1, by channel; None if it has none.
        std: its attribute `std`: standard deviation of the pixels, like `mean`.
        image_size: its attribute `image_size`: height and width of the images, in pixels; None if it has none.
        dtypes: types of its weights other than float32, such as `float16`.
    """

    is_trained: bool
    has_batch_norm: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    image_size: int | None
    dtypes: tuple[str, ...]


class Output(NamedTuple):
    """Result of trial runs of a network.

    Attributes:
        shape: shape of the output for one image: (F,), (F, h, w) or (T, F).
        dtype: type of the output for float32 images.
        has_parameters: whether the network has parameters that require a gradient.
        learns: whether any parameter gets a gradient in training.
        idle: names of the parameters that require a gradient, but get none.
        is_cut: whether idle parameters change the output all the same, since a `detach` or `no_grad` comes behind them.
        skips: whether a parameter that is not idle gets no gradient in some of the runs.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    has_parameters: bool = True
    learns: bool = True
    idle: tuple[str, ...] = ()
    is_cut: bool = False
    skips: bool = False

    @property
    def feature_size(self) -> int:
        """Length of a feature vector, F."""
        return self.shape[-1] if len(self.shape) == 2 else self.shape[0]

    def describe(self) -> str:
        """Return the shape in words, such as `maps (n, 512, 7, 7)`."""
        words = {1: "features (n, {})", 2: "tokens (n, {}, {})", 3: "maps (n, {}, {}, {})"}
        return words[len(self.shape)].format(*self.shape)


class ImportedBackbone(Backbone):
    """Adapter of the user's network with the import path `name`, made with `arguments`; see `docs/own_model.md`.

    The network maps float32 images (n, 3, H, W), `(pixel / 255 - mean) / std`, to features (n, F), to maps
    (n, F, h, w), which are averaged, or to tokens (n, T, F), which are averaged after the first `prefix_tokens`.
    `image_size` is the height and width of the images of a trial run; None: the network's own, or 224. The network has
    the weights that the user's code gives it.
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
        self.idle_parameters = tuple(f"{_WITHOUT}{parameter}" for parameter in self.output.idle)
        self.skips_parameters = self.output.skips

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images (n, 3, H, W) to features (n, F); after `without_pooling` to maps or tokens."""
        output: torch.Tensor = self.network(images)
        if output.dtype != images.dtype and not _is_of_autocast(output):
            output = output.to(images.dtype)
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


def _is_of_autocast(output: torch.Tensor) -> bool:
    return torch.is_autocast_enabled(output.device.type) and output.dtype != torch.float64


def _of_network(state: State) -> State:
    if all(key.startswith(_WITHOUT) for key in state):
        return {key.removeprefix(_WITHOUT): tensor for key, tensor in state.items()}
    return state


def make_network(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the network that the user's class or function `name` makes from `arguments`, with weights in float32.

    `input_mean` and `input_std` are left out of the arguments if `name` does not take them.

    Raises:
        CodeError: The arguments do not fit, the user's code raises an error, or it gives no `torch.nn.Module`.
    """
    return _network_as_made(name, arguments).to(torch.float32)


def _network_as_made(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    function = import_named(name)
    taken = call_arguments(function)
    given = {key: value for key, value in arguments.items() if key not in NORMALIZATION_KEYS or key in taken.defaults}
    network = call(name, function, taken.check(name, given))
    if not isinstance(network, nn.Module):
        raise CodeError(f"{name}{defined_at(function)} gives a {type(network).__name__}: return a torch.nn.Module")
    return network


def facts(name: str, arguments: Mapping[str, Any]) -> Facts:
    """Return the properties of the network `name` with `arguments`. They are cached, so that it is made only once.

    Raises:
        CodeError: The network cannot be made, or its attribute mean, std or image_size is not valid.
    """
    found = _facts(name, import_named(name), json.dumps(dict(arguments), sort_keys=True, default=str))
    if isinstance(found, CodeError):
        raise found
    return found


@lru_cache(maxsize=256)
def _facts(name: str, function: Callable[..., Any], canonical_arguments: str) -> Facts | CodeError:
    try:
        with _seeded(), torch.device("cpu"):
            network = _network_as_made(name, json.loads(canonical_arguments))
            found = _facts_of(name, network)
    except CodeError as error:
        return error
    _spare.clear()
    _spare[name, function, canonical_arguments] = network
    return found


_spare: dict[tuple[str, Callable[..., Any], str], nn.Module] = {}
"""The network that `_facts` has made last, which `_try` takes, so that it is not made again."""


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed torch's, numpy's and Python's global generators for the `with` block: all ranks get the same results."""
    others = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            random.seed(0)
            numpy.random.seed(0)
            yield
    finally:
        random.setstate(others[0])
        numpy.random.set_state(others[1])


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
        dtypes=tuple(sorted({str(one.dtype).removeprefix("torch.") for one in network.parameters()} - {"float32"})),
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
    """Return the problem with `value`, a mean or std as `key` says; None if it is three numbers in 0..1."""
    numbers = value if isinstance(value, list | tuple) else []
    if len(numbers) != 3 or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        return f"must be three numbers, of red, green and blue, got {value!r}"
    low = 0 if key.endswith("mean") else 1e-6
    if not all(low <= one <= 1 for one in numbers):
        fix = ": divide it by 255" if max(numbers) > 1 else ""
        return f"must be on the scale of 0 to 1, got {value!r}{fix}"
    return None


def normalization_problem(arguments: Mapping[str, Any]) -> str | None:
    """Return `key: problem` if `input_mean` or `input_std` in `arguments` is not three numbers in 0..1; else None."""
    for key in NORMALIZATION_KEYS:
        if arguments.get(key) is not None and (problem := _problem_of(arguments[key], key)):
            return f"{key}: {problem}"
    return None


def normalization(own: Facts, arguments: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the pixels' mean and std, on 0..1: those in `arguments`, else the network's (`own`), else ImageNet's."""
    mean = arguments.get("input_mean") or own.mean or IMAGENET[0]
    std = arguments.get("input_std") or own.std or IMAGENET[1]
    return tuple(mean), tuple(std)


def try_network(name: str, arguments: Mapping[str, Any], image_size: int) -> Output:
    """Make the network `name` with `arguments`, and return the result of runs on two random images of `image_size`.

    It runs in evaluation and in training mode. Results are cached.

    Raises:
        CodeError: The network fails, its output has a wrong shape or type, or numbers or gradients are not finite.
    """
    found = _try(name, import_named(name), json.dumps(dict(arguments), sort_keys=True, default=str), image_size)
    if isinstance(found, CodeError):
        raise found
    return found


@lru_cache(maxsize=256)
def _try(name: str, function: Callable[..., Any], canonical_arguments: str, size: int) -> Output | CodeError:
    try:
        with _seeded(), torch.device("cpu"):
            spare = _spare.pop((name, function, canonical_arguments), None)
            network = (spare or make_network(name, json.loads(canonical_arguments))).to(torch.float32)
            images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
            return run_network(name, network, images)
    except CodeError as error:
        return error


def run_network(name: str, network: nn.Module, images: torch.Tensor) -> Output:
    """Run `network` on `images` (n, 3, H, W) as `try_network` does, and return the result. `name` is for messages."""
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
    parameters = {key for key, one in network.named_parameters() if one.requires_grad}
    used, draws = _trained_in_a_run(name, where, network.train(), images)
    runs = [used]
    if draws or used < parameters:
        runs += [
            _trained_in_a_run(name, where, network, images)[0] for _ in range(_RUNS - 1 if used < parameters else 1)
        ]
    learning = set.union(*runs)
    idle = parameters - learning
    if idle and draws:  # what training drops at random, evaluation has
        idle -= _trained_in_a_run(name, where, network.eval(), images)[0]
    return Output(
        tuple(output.shape[1:]),
        output.dtype,
        has_parameters=bool(parameters),
        learns=bool(learning),
        idle=tuple(key for key, _ in network.named_parameters() if key in idle),
        is_cut=bool(idle) and _change_the_output(name, network, images, idle),
        skips=any((parameters - idle) - used for used in runs),
    )


def _trained_in_a_run(name: str, where: str, network: nn.Module, images: torch.Tensor) -> tuple[set[str], bool]:
    """Return the names of the parameters that get a gradient in a run, and whether the run draws random numbers.

    Raises:
        CodeError: The run fails, or a gradient is not finite.
    """
    network.zero_grad(set_to_none=True)
    before = _states()
    output = output_of(name, network, images)
    draws = _states() != before
    if output.requires_grad:
        try:
            output.float().square().mean().backward()
        except FAILURES as error:
            raise CodeError(f"{where}: its backward fails: {said(error)}") from None
    gradients = {key: one.grad for key, one in network.named_parameters() if one.grad is not None}
    if not all(one.isfinite().all() for one in gradients.values()):
        raise CodeError(f"{where}: its gradients are not finite for random images")
    return set(gradients), draws


def _states() -> tuple[object, ...]:
    """Return the states of Python's, numpy's and torch's global generators, which change when code draws."""
    _, numbers, position, *_ = numpy.random.get_state(legacy=True)
    return random.getstate(), bytes(numbers), position, bytes(torch.get_rng_state().numpy())  # type: ignore[arg-type]


def _change_the_output(name: str, network: nn.Module, images: torch.Tensor, idle: set[str]) -> bool:
    """Return whether the parameters `idle` affect the output in training. They are set to NaN, and stay NaN."""
    with torch.no_grad():
        for key in idle:
            network.get_parameter(key).fill_(torch.nan)
        return not bool(output_of(name, network.train(), images).isfinite().all())


def output_of(name: str, network: nn.Module, images: torch.Tensor) -> Any:
    """Return the output of `network` for `images`. An error of the user's code is raised as CodeError."""
    try:
        return network(images)
    except FAILURES as error:
        shape = f"({', '.join(map(str, images.shape))})"
        raise CodeError(f"{name} fails on images {shape}: {said(error)}") from None


def plan_notes(name: str, weights: str, size: int, arguments: Mapping[str, Any]) -> list[str]:
    """Return sentences for the plan on the network `name`: its output, its weights, its normalisation."""
    own, output = facts(name, arguments), try_network(name, arguments, size)
    pooled = "" if len(output.shape) == 1 else ", which are averaged,"
    notes = [f"backbone {name} gives {output.describe()}{pooled} for images of {size} x {size}"]
    notes += _notes_of_training(name, own, output)
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


def _notes_of_training(name: str, own: Facts, output: Output) -> Iterator[str]:
    if output.idle:
        get, take, are = ("gets", "takes", "is") if len(output.idle) == 1 else ("get", "take", "are")
        why = (
            f"{get} no gradient, behind a detach() or no_grad()" if output.is_cut else f"{take} no part in the features"
        )
        yield f"backbone {name}: {_listed(output.idle)} {why}, and {are} not trained"
    if not output.has_parameters:
        yield f"backbone {name} has no parameters with a gradient: nothing of it is trained, as with train: none"
    if own.dtypes:
        yield f"backbone {name}: its weights are {' and '.join(own.dtypes)}: they are trained as float32"
    if output.dtype != torch.float32:
        yield f"backbone {name} gives {str(output.dtype).removeprefix('torch.')}, which is converted to float32"


def _listed(names: tuple[str, ...]) -> str:
    if len(names) == 1 or len(names) > _SHOWN:
        return some(names, _SHOWN)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def why_untrainable(name: str, arguments: Mapping[str, Any], image_size: int, has_head: bool) -> str:
    """Return why the network `name` cannot be trained, such as an output without a gradient; empty if it can be.

    `has_head` says whether the layers behind the network have parameters.
    """
    output = try_network(name, arguments, image_size)
    if output.learns or (has_head and not output.has_parameters):
        return ""
    if not output.has_parameters:
        return f"{name} has no parameters with a gradient, and embedding.head: identity has none: write linear"
    where = f"{name}{defined_at(type(make_network(name, arguments)).forward)}"
    return (
        f"{where}: its output has no gradient, so that it would never learn: is there a detach(), no_grad() or item() "
        "on the way? If it shall not learn, write train: none beside the name"
    )
