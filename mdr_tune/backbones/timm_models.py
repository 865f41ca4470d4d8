"""The models of timm as backbones: each is a model without its classification layer."""

import inspect
import logging
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple

import timm
import torch
from timm.models import _builder
from torch import nn

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.image_limits import ImageLimits
from mdr_tune.backbones.state_dicts import NAMED, State, load_weights
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import some

logger = logging.getLogger(__name__)

PREFIX = "timm."
_NOT_ARGUMENTS = {"self", "num_classes", "in_chans", "img_size"}
"""Parameters that are set here."""
_SCALARS = (bool, int, float, str)
_USUAL_STRIDE = 32  # of a network's last features, in pixels
_HUB_FILE = "pytorch_model.bin"
_SAFE_FILES = {_HUB_FILE: "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}
"""Files of a repository of weights, each with the one that timm takes first if it exists."""


@cache
def known_names() -> tuple[str, ...]:
    """Return the names of timm's models, with `timm.` in front: each without a tag, and with each published tag."""
    return tuple(f"{PREFIX}{name}" for name in dict.fromkeys([*timm.list_models(), *timm.list_pretrained()]))


def tags_of(model: str) -> list[str]:
    """Return the tags of the weights of timm's `model`, a name without a tag. The default one comes first."""
    names = timm.list_pretrained(f"{model}.*") or []
    default = name_with_tag(f"{PREFIX}{model}")
    return sorted((name.partition(".")[2] for name in names), key=lambda tag: f"{model}.{tag}" != default)


def name_with_tag(name: str) -> str:
    """Return timm's name of the model `name` with a tag, which is timm's default one if `name` has none."""
    model = name.removeprefix(PREFIX)
    tag = _config(name).tag
    return model if "." in model or not tag else f"{model}.{tag}"


def published_url(name: str) -> str | None:
    """Return the URL of the weights of the model `name`; None if timm publishes none.

    A file on the Hugging Face Hub has the URL `hf://REPOSITORY/FILE`, with `@REVISION` at the end of REPOSITORY if one
    is chosen. FILE may be several names with `|` between them, of which the first one is taken that exists.
    """
    config = _config(name)
    if config.hf_hub_id:
        file = config.hf_hub_filename or _HUB_FILE
        return f"hf://{config.hf_hub_id}/{'|'.join([*([_SAFE_FILES[file]] if file in _SAFE_FILES else []), file])}"
    return config.url if isinstance(config.url, str) and config.url else None


def _config(name: str) -> Any:
    """Return timm's `PretrainedCfg` of the model `name`: its weights and their preprocessing."""
    config = timm.get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    assert config is not None, name
    return config


def usual_images(name: str) -> str:
    """Return a text on how timm resizes images for the model `name`: filter, size and share that is cut out.

    It has the keys of a data set that give the same size and share.
    """
    data = timm.data.resolve_data_config({}, pretrained_cfg=_config(name).to_dict())
    share, mode = data["crop_pct"], data["crop_mode"]
    size, resize = own_images(name).values()
    keys = f"data.image_size: {size} and data.resize: {resize} give this size and share"
    return f"{data['interpolation']} resampling, {size}x{size} pixels, crop_pct {share:g} ({mode}; {keys})"


def own_images(name: str) -> dict[str, Any]:
    """Return the keys `image_size` and `resize` of a data set that give the size and share of `usual_images`."""
    data = timm.data.resolve_data_config({}, pretrained_cfg=_config(name).to_dict())
    size = data["input_size"][-1]
    return {"image_size": size, "resize": round(size / data["crop_pct"])}


def _create(name: str, **options: Any) -> nn.Module:
    """Return the model `name` with random weights and without its classification layer, unless `options` say else."""
    model: nn.Module = timm.create_model(name.removeprefix(PREFIX), **{"num_classes": 0, **options})
    return model


@cache
def arguments_of(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of the model `name` that are numbers, texts or booleans, as its class declares them.

    The annotation of each is the tuple of the types that it takes, or of the values if it is a Literal.
    """
    found: dict[str, inspect.Parameter] = {}
    with torch.device("meta"):
        kind = type(_create(name))
    for base in kind.__mro__:
        if base is nn.Module:
            break
        constructor: Any = vars(base).get("__init__")
        if constructor is None:
            continue
        parameters = inspect.signature(constructor).parameters
        hints = typing.get_type_hints(constructor)
        for key, parameter in parameters.items():
            types = _scalar_types(hints.get(key, type(parameter.default)))
            if types and key not in _NOT_ARGUMENTS and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                found.setdefault(key, parameter.replace(annotation=types))
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break  # it passes nothing on to the class below
    return found


def _scalar_types(annotation: Any) -> tuple[Any, ...]:
    """Return the scalar types in `annotation`, or the values of a Literal; an empty tuple if it has neither."""
    if annotation in _SCALARS:
        return (annotation,)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return tuple(value for value in inner if value != "")  # an empty text leaves out a part, such as the pooling
    if origin in (typing.Union, UnionType):
        return tuple(kind for part in inner if part is not NoneType for kind in _scalar_types(part))
    return ()


def check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError if a value of `arguments`, whose keys are known, has the wrong type, or is no rate in [0, 1)."""
    for key, value in arguments.items():
        takes = arguments_of(name)[key].annotation
        expected = _expected(takes)
        fits = any(_is_a(value, kind) if isinstance(kind, type) else value == kind for kind in takes)
        if not fits:
            raise ValueError(f"{key}: expected {expected}, got {value!r}")
        if key.endswith("_rate") and float in takes and not 0 <= value < 1:
            raise ValueError(f"{key}: expected a number from 0 to less than 1, got {value}")
        if key == "global_pool" and value == "":
            raise ValueError("global_pool: a text that is not empty is expected, since images need one vector each")


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _expected(takes: Iterable[Any]) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return " or ".join(dict.fromkeys(words[kind] if isinstance(kind, type) else repr(kind) for kind in takes))


class TimmBackbone(Backbone):
    """timm's model `name`, with random weights, without its classification layer, made for images of `image_size`.

    Normalisation and the usual image size are those of the weights that `name` stands for. `image_size` None is the
    usual size. `arguments` are those of the model.
    """

    def __init__(self, name: str, image_size: int | None = None, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        config, self._arguments = _config(name), dict(arguments or {})
        usual = config.input_size[-1]
        size = image_size or usual
        self.name, self.in_channels, self.fixed_image_size = name, 3, _is_made_for_one_size(name, self._arguments)
        self.network = _create(name, **_options(name, self._arguments, size))
        self.feature_size: int = self.network.head_hidden_size  # type: ignore[assignment]
        self.image_size = size if self.fixed_image_size else usual
        least = config.min_input_size[-1] if config.min_input_size else _USUAL_STRIDE
        self.min_image_size = size if self.fixed_image_size else min(size, least)
        self.prefix_tokens = getattr(self.network, "num_prefix_tokens", 0)
        mean, std = (tuple(255 * value for value in values) for values in (config.mean, config.std))
        self.set_normalization(mean, std)

    def load_file(self, state: State, path: Path) -> None:
        """Load a state dict of timm's model, with or without its classification layer, or of this class.

        Names of other versions are replaced, and position embeddings for other image sizes are resampled, by the
        function that timm has for it. Tensors that the network does not have are named in a warning.
        """
        if any(key.startswith("network.") for key in state):
            load_weights(self, state, path)
            return
        known = self.network.state_dict()
        adapted = _adapted(self.name, self._arguments, state, self.network, path)
        unused = [key for key in adapted if key not in known and key not in _head_keys(self.name)]
        if unused and all(key in adapted for key in known):
            logger.warning(
                "%s has tensors that %s does not have, and does not use: %s", path, self.name, some(unused, NAMED)
            )
            unused = []
        kept = {key: tensor for key, tensor in adapted.items() if key in known or key in unused}
        load_weights(self.network, kept, path)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images (n, 3, H, W) to features (n, feature_size).

        After `without_pooling`, maps (n, feature_size, h, w) or tokens (n, T, feature_size).
        """
        features: torch.Tensor = self.network(images)
        if features.ndim == 4 and self._channels_are_last:
            return features.permute(0, 3, 1, 2)
        return features

    def without_pooling(self) -> None:
        """Let the network return maps (n, F, h, w) or tokens (n, T, F). ValueError if it cannot."""
        shape = None
        try:
            self.network.reset_classifier(0, global_pool="")  # type: ignore[operator]
            with torch.no_grad(), torch.device("meta"):
                unpooled = _create(
                    self.name, **_options(self.name, self._arguments, self.image_size) | {"global_pool": ""}
                )
                shape = unpooled(torch.empty(1, 3, self.image_size, self.image_size)).shape
        except Exception:  # each of timm's models has errors of its own
            logger.debug("%s without pooling", self.name, exc_info=True)
        if shape is None or len(shape) < 3:
            raise ValueError(f"{self.name} pools its features itself: leave out embedding.pool")
        self.feature_size = shape[-1] if len(shape) == 3 or self._channels_are_last else shape[1]

    @property
    def _channels_are_last(self) -> bool:
        return str(getattr(self.network, "output_fmt", "")).endswith("NHWC")


def _is_made_for_one_size(name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether the network takes only images of the size that it was made for."""
    any_size = arguments.get("dynamic_img_size", False) or not arguments.get("strict_img_size", True)
    return bool(_config(name).fixed_input_size and not any_size)


def _options(name: str, arguments: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """Return the options to create a model with for images of `image_size`."""
    return {**arguments, **({"img_size": image_size} if _config(name).fixed_input_size else {})}


def image_limits(name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
    """Return the shapes of images that timm's model `name` takes, without making it in memory.

    A size works if a network that is made for it on torch's meta device takes an image, and if weights, in case that
    `weights` are not `none`, fit the network.
    """
    tried = partial(_problem_with, name, weights != "none", tuple(sorted(arguments.items())))
    return ImageLimits(name, 3, _config(name).input_size[-1], min_image_size=1, problem_with=tried)


@cache
def _problem_with(name: str, weights: bool, arguments: tuple[tuple[str, Any], ...], size: int) -> str:
    """Return the reason why a model takes no images of `size`, with the sizes nearby that it takes; else ``."""
    tried = _try(name, weights, arguments, size)
    if tried.problem and tried.is_the_size:
        usual = _config(name).input_size[-1]
        step = tried.multiple
        near = sorted({size // step * step, -(-size // step) * step, usual} - {0, size})
        works = [other for other in near if not _try(name, weights, arguments, other).problem]
        if not works:
            return f"{tried.problem}. Choose another size or backbone"
        also = ", or set backbone.weights: none" if weights and tried.is_of_weights else ""
        return f"{tried.problem}. Make the images {' or '.join(f'{other}x{other}' for other in works)}{also}"
    return tried.problem


class _Try(NamedTuple):
    """What came of a network that was made for one size of images.

    `problem` is empty if it works; `is_the_size` says whether another size may work, namely a multiple of `multiple`;
    `is_of_weights` whether random weights work.
    """

    problem: str = ""
    is_the_size: bool = False
    multiple: int = _USUAL_STRIDE
    is_of_weights: bool = False


@cache
def _try(name: str, weights: bool, arguments: tuple[tuple[str, Any], ...], size: int) -> _Try:
    """Make a network for images of `size` on torch's meta device, and give it two of them."""
    given, usual = dict(arguments), _config(name).input_size[-1]
    try:
        with torch.device("meta"):
            network = _create(name, **_options(name, given, size))
    except Exception as error:  # timm checks little, and each of its models has errors of its own
        if size == usual:
            return _Try(f"timm cannot make it with {given or 'its usual arguments'}: {_line(error)}")
        return _Try(f"timm cannot make it for this size ({_line(error)})", is_the_size=True)
    patch = _patch_size(network)
    if patch > 1 and size % patch and not given.get("dynamic_img_pad"):
        return _Try(f"it divides images into patches of {patch}x{patch} pixels", is_the_size=True, multiple=patch)
    try:
        with torch.no_grad():
            features = network(torch.empty(2, 3, size, size, device="meta"))
    except Exception as error:
        return _Try(
            f"they do not fit its layers ({_line(error)})", is_the_size=True, multiple=max(patch, _USUAL_STRIDE)
        )
    if features.ndim != 2:
        gives = f"it gives {'x'.join(map(str, features.shape[1:]))} features for an image, not one vector"
        return _Try(f"{gives}: set backbone.global_pool, such as avg")
    if weights and (problem := _misfit(name, given, network, size)):
        own = "" if size != usual else ": leave out those arguments, or set backbone.weights: none"
        return _Try(f"{problem}{own}", is_the_size=size != usual, is_of_weights=True)
    return _Try()


def _patch_size(network: nn.Module) -> int:
    """Return the height of the patches that images are divided into; 1 if there are none, or if they overlap."""
    embed = getattr(network, "patch_embed", None)
    size = getattr(embed, "patch_size", 1)
    return int(size[0] if isinstance(size, tuple | list) else size)


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _misfit(name: str, arguments: Mapping[str, Any], network: nn.Module, size: int) -> str:
    """Return why weights for the usual arguments and image size do not fit `network`, which is on torch's meta device.

    An empty text if they fit, or if it cannot be known without the weights.
    """
    try:
        with torch.device("meta"):
            usual = _create(name).state_dict()
        adapted = _filtered(name, arguments, dict(usual), network)
    except Exception:  # timm's function needs the numbers
        return ""
    wanted = network.state_dict()
    lacking = [key for key in wanted if key not in adapted]
    other = [key for key in wanted if key in adapted and adapted[key].shape != wanted[key].shape]
    if not lacking and not other:
        return ""
    what = f"has another shape of {some(other, NAMED)}" if other else f"has {some(lacking, NAMED)}, which they lack"
    changed = f" with {', '.join(arguments)}" if arguments else ""
    return f"published weights do not fit the network for {size}x{size}{changed}: it {what}"


def _adapted(name: str, arguments: Mapping[str, Any], state: State, network: nn.Module, path: Path) -> State:
    """Return `state`, which was read from `path`, with the names and shapes of `network`."""
    try:
        return _filtered(name, arguments, state, network)
    except Exception as error:  # it expects the tensors of this model
        raise UserError(
            f"backbone.weights: {path} does not fit the network: timm cannot adapt it to {name} ({_line(error)})"
        ) from None


def _filtered(name: str, arguments: Mapping[str, Any], state: State, network: nn.Module) -> State:
    """Return `state` after timm's checkpoint filter for the model `name`, which may change `state`."""
    adapt = _checkpoint_filter(name)
    if adapt is None:
        return state
    takes_network = len(inspect.signature(adapt).parameters) > 1
    adapted: State = adapt(state, network) if takes_network else adapt(state)
    return adapted


@cache
def _checkpoint_filter(name: str) -> Callable[..., Any] | None:
    """Return timm's function that adapts a state dict to the model `name`; None if the model needs none.

    timm passes it to `load_pretrained`, which is replaced meanwhile. tests/backbones/test_timm_models.py shows it.
    """
    given: dict[str, Any] = {}
    before = _builder.load_pretrained
    _builder.load_pretrained = lambda *arguments, **options: given.update(options)
    try:
        with torch.device("meta"):
            _create(name, pretrained=True)
    finally:
        _builder.load_pretrained = before
    adapt: Callable[..., Any] | None = given["filter_fn"]
    return adapt


@cache
def _head_keys(name: str) -> frozenset[str]:
    """Return the names of the tensors of the classification layers of the model `name`."""
    with torch.device("meta"):
        whole = timm.create_model(name.removeprefix(PREFIX), num_classes=2)
        return frozenset(whole.state_dict()) - frozenset(_create(name).state_dict())
