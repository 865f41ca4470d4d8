"""Check the loss of pytorch-metric-learning that a sweep file names: its class, its arguments and their ranges."""

import inspect
import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from pytorch_metric_learning import losses
from torch import nn

from mdr_tune.util.errors import UnknownName
from mdr_tune.util.nearest_name import LIBRARY_PREFIX, did_you_mean

REQUIRED = inspect.Parameter.empty

_SET_BY_THE_TRIAL = {
    **dict.fromkeys(("num_classes", "num_labels", "n_classes"), "taken from the data set"),
    **dict.fromkeys(("embedding_size", "embedding_dim", "descriptors_dim", "l"), "taken from embedding.size"),
    "collect_stats": "always off",
}

# Arguments that a sweep file cannot give: Python objects, and numbers that have a meaning only with such an object.
_NOT_FROM_A_FILE = {
    "distance": "the class's own distance is used",
    "reducer": "the class's own reducer is used",
    "embedding_regularizer": "MDR is set under mdr",
    "embedding_reg_weight": "MDR is set under mdr",
    "weight_regularizer": "the optimizer's weight_decay does that",
    "weight_reg_weight": "the optimizer's weight_decay does that",
    "weight_init_func": "the class's own initialisation is used",
    "mat_based_loss": "the class decides it",
    "miner": "it is set under miner",
    "miners": "it is set under miner",
    "loss": "a loss cannot be nested",
    "losses": "losses cannot be nested",
}

UNUSABLE = {
    "BaseMetricLossFunction": "it is a base class",
    "GenericPairLoss": "it is a base class",
    "CrossBatchMemory": "it wraps another loss, and each rank would remember other batches: write trial.memory",
    "SelfSupervisedLoss": "it wraps another loss and compares augmentations, not classes",
    "MultipleLosses": "it wraps other losses",
    "VICRegLoss": "it compares augmentations and takes no labels",
    "ManifoldLoss": "it makes up its own classes and takes no labels",
    "DynamicSoftMarginLoss": "its second step fails: its histogram keeps the graph of the first",
    "SmoothAPLoss": "it is wrong unless a batch has as many classes as images a class",
}


class _Range(NamedTuple):
    text: str
    holds: Callable[[float], bool]


_NOT_NEGATIVE = _Range("0 or more", lambda value: value >= 0)
_POSITIVE = _Range("more than 0", lambda value: value > 0)
_ANGLE = _Range("an angle from 0 to below 180 degrees", lambda value: 0 <= value < 180)
_ACUTE_ANGLE = _Range("an angle from 0 to below 90 degrees", lambda value: 0 <= value < 90)
_COSINE = _Range("from -1 to 1, as cosines are", lambda value: -1 <= value <= 1)

# Ranges of arguments, by name or by class and name; all other arguments must be _NOT_NEGATIVE. Arguments that a cosine
# is compared with may be negative. CircleLoss's m is one: positive pairs are wanted above 1 - m, negative ones below m.
_RANGES = {
    **dict.fromkeys(("temperature", "scale", "softmax_scale", "gamma", "la", "anneal"), _POSITIVE),
    **dict.fromkeys(("delta", "n_bins", "num_bins", "centers_per_class", "sub_centers"), _POSITIVE),
    "MultiSimilarityLoss.alpha": _POSITIVE,
    "MultiSimilarityLoss.beta": _POSITIVE,
    "ProxyAnchorLoss.alpha": _POSITIVE,
    "ArcFaceLoss.margin": _ANGLE,
    "SubCenterArcFaceLoss.margin": _ANGLE,
    "TupletMarginLoss.margin": _ANGLE,
    "AngularLoss.alpha": _ACUTE_ANGLE,
    "CircleLoss.m": _COSINE,
    "MultiSimilarityLoss.base": _COSINE,
    "ThresholdConsistentMarginLoss.margin_plus": _COSINE,
    "ThresholdConsistentMarginLoss.margin_minus": _COSINE,
}


def loss_class_names() -> list[str]:
    """Return the names of pytorch-metric-learning's loss classes that can be used, sorted."""
    classes = inspect.getmembers(losses, inspect.isclass)
    return [name for name, kind in classes if issubclass(kind, losses.BaseMetricLossFunction) and name not in UNUSABLE]


def loss_class_arguments(class_name: str) -> dict[str, Any]:
    """Return the default of each keyword argument that a sweep file may give for the loss class `class_name`.

    The default is `REQUIRED` if the argument has none. Raise a ValueError if the library has no such loss, or it cannot
    be used; the message says what would work.
    """
    if class_name in UNUSABLE:
        raise ValueError(f"{LIBRARY_PREFIX}{class_name} cannot be used: {UNUSABLE[class_name]}")
    if class_name not in loss_class_names():
        raise UnknownName(f"pytorch-metric-learning has no loss {class_name!r}. {_known_losses(class_name)}")
    return {
        key: default
        for key, default in constructor_defaults(getattr(losses, class_name)).items()
        if key not in _SET_BY_THE_TRIAL and key not in _NOT_FROM_A_FILE
    }


def check_loss_class_arguments(class_name: str, arguments: Mapping[str, Any]) -> None:
    """Raise a ValueError unless a sweep file can give these `arguments` for the loss class `class_name`.

    It is an error if an argument is unknown, missing, of a wrong type, out of its range, or forbidden in a sweep file.
    """
    name = LIBRARY_PREFIX + class_name
    known = loss_class_arguments(class_name)
    for key in arguments:
        if key in _SET_BY_THE_TRIAL:
            raise ValueError(f"{name}: {key} is {_SET_BY_THE_TRIAL[key]}: leave it out")
        if key in _NOT_FROM_A_FILE:
            raise ValueError(f"{name}: {key} cannot be given in a file: {_NOT_FROM_A_FILE[key]}; leave it out")
        if key not in known:
            listed = ", ".join(_shown(argument, default) for argument, default in known.items()) or "none"
            hint = did_you_mean(key, list(known))
            raise UnknownName(f"{name} has no argument {key!r}.{hint} Known: {listed}.")
    missing = [key for key, default in known.items() if default is REQUIRED and key not in arguments]
    if missing:
        raise ValueError(f"{name} needs a value for {' and '.join(missing)}, which have no default")
    for key, value in arguments.items():
        _check_type(name, key, value, known[key])
        if _is_number(value):
            _check_range(class_name, key, value)


def constructor_defaults(kind: type) -> dict[str, Any]:
    """Return the default of each keyword argument of the constructors of the class `kind` and of its base classes.

    The default is `REQUIRED` (`inspect.Parameter.empty`) if the argument has none. The base classes count because the
    library's constructors pass their `**kwargs` to the base class.
    """
    known: dict[str, Any] = {}
    for base in kind.__mro__:
        if base is nn.Module:
            break
        if "__init__" in vars(base):
            for parameter in list(inspect.signature(base.__init__).parameters.values())[1:]:  # type: ignore[misc]
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                    known.setdefault(parameter.name, parameter.default)
    return known


def _known_losses(class_name: str) -> str:
    names = loss_class_names()
    close = get_close_matches(class_name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(LIBRARY_PREFIX + guess for guess in close)}?"
    return f"Known: {', '.join(LIBRARY_PREFIX + known for known in names)}."


def _shown(name: str, default: Any) -> str:
    return f"{name} (no default)" if default is REQUIRED else f"{name} ({default})"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_type(name: str, key: str, value: Any, default: Any) -> None:
    """Raise a ValueError if the `value` of the argument `key` of the loss `name` is not of the type of its `default`.

    Without a default, the value must be a number.
    """
    if key == "triplets_per_anchor":
        fits, wanted = (
            value == "all" or (isinstance(value, int) and _is_number(value) and value >= 1),
            "1 or more, or 'all'",
        )
    elif isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, str):
        fits, wanted = isinstance(value, str), "a text"
    else:
        fits, wanted = _is_number(value) or (value is None and default is None), "a number"
    if not fits:
        shown = "" if default is REQUIRED or default is None else f", such as {default!r}, its default"
        raise ValueError(f"{name}: {key} must be {wanted}{shown}; got {value!r}")


def _check_range(class_name: str, key: str, value: float) -> None:
    """Raise a ValueError if `value` is outside the sensible range of the argument `key` of the loss `class_name`."""
    allowed = _RANGES.get(f"{class_name}.{key}", _RANGES.get(key, _NOT_NEGATIVE))
    if not (allowed.holds(value) and value < math.inf):
        raise ValueError(f"{LIBRARY_PREFIX}{class_name}: {key} must be {allowed.text}; got {value!r}")
