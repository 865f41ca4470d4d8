"""Any loss of pytorch-metric-learning by its class name (`pml.CircleLoss`), checked before it is trained with."""

import inspect
import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import torch
from pytorch_metric_learning import distances, losses
from torch import Tensor, nn

from mdr_tune.metric.arguments import unknown_argument
from mdr_tune.metric.library_adapter import LibraryLoss
from mdr_tune.metric.losses import LIBRARY_PREFIX

_REQUIRED = inspect.Parameter.empty

# What the library's constructors call the two sizes that a trial knows.
_SIZES = {"num_classes": "num_classes", "embedding_size": "embedding_size", "descriptors_dim": "embedding_size"}

_SET_BY_THE_TRIAL = {
    **dict.fromkeys(("num_classes", "num_labels", "n_classes"), "taken from the data set"),
    **dict.fromkeys(("embedding_size", "embedding_dim", "descriptors_dim", "l"), "taken from embedding.size"),
    "collect_stats": "always off",
}

# Python objects, and numbers that mean something only together with one of them.
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

_UNUSABLE = {
    "BaseMetricLossFunction": "it is a base class",
    "GenericPairLoss": "it is a base class",
    "CrossBatchMemory": "it wraps another loss and remembers batches, which ranks and checkpoints would have to share",
    "SelfSupervisedLoss": "it wraps another loss and compares augmentations, not classes",
    "MultipleLosses": "it wraps other losses",
    "VICRegLoss": "it compares augmentations and takes no labels",
    "ManifoldLoss": "it makes up its own classes and takes no labels",
    "DynamicSoftMarginLoss": "its second step fails: its histogram keeps the graph of the first",
    "SmoothAPLoss": "it is wrong unless a batch has as many classes as images a class",
}

# Defined on the unit sphere: they assert it, or (ProxyNCA) compare with proxies that are on it.
_ON_THE_SPHERE = (losses.AngularLoss, losses.FastAPLoss, losses.ProxyNCALoss)

_TRIAL_EMBEDDINGS, _TRIAL_SIZE, _TRIAL_CLASSES = 12, 6, 4


def check_library_loss(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise a ValueError unless a trial can train with this loss; the message says what would work.

    The loss is built, and trained for two steps on a dozen random embeddings and on equal ones. Results are
    remembered.

    Args:
        name: of a class of `pytorch_metric_learning.losses`, with `pml.` before it.
        arguments: keyword arguments of its constructor, as a file gives them.

    Example:
        >>> check_library_loss("pml.CircleLoss", {"m": 0.4})
    """
    class_name = name.removeprefix(LIBRARY_PREFIX)
    known = _check_names(class_name, arguments)
    for key, value in arguments.items():
        _check_type(name, key, value, known[key])
    problem = _problem_in_training(class_name, _canonical(arguments))
    if problem:
        raise ValueError(f"{name} cannot be used with {dict(arguments) or 'its defaults'}: {problem}")


def library_loss_is_angular(name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether the lengths of embeddings mean nothing to this loss, only their directions.

    Found out by trying: each of a dozen embeddings is made longer by another factor.

    Args:
        name: as for `check_library_loss`.
        arguments: as for `check_library_loss`.

    Raises:
        ValueError: as `check_library_loss`.
    """
    check_library_loss(name, arguments)
    return _is_angular(name.removeprefix(LIBRARY_PREFIX), _canonical(arguments))


def library_loss_takes_mined(name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether this loss can be used with a miner other than `all`; some make their own pairs of a batch.

    Args:
        name: as for `check_library_loss`.
        arguments: as for `check_library_loss`.

    Raises:
        ValueError: as `check_library_loss`.
    """
    check_library_loss(name, arguments)
    return _build_for_trial(name.removeprefix(LIBRARY_PREFIX), _canonical(arguments)).takes_mined


def build_library_loss(name: str, arguments: Mapping[str, Any], embedding_size: int, num_classes: int) -> LibraryLoss:
    """Return a new loss of the library; its parameters are drawn from torch's global generator.

    Embeddings are taken as they come where the class's default is the Euclidean distance (or, in NPairsLoss,
    the dot product) on the unit sphere; AngularLoss, FastAPLoss and ProxyNCALoss, which are defined on the
    sphere, and all that compare cosines stay so.

    Args:
        name: as for `check_library_loss`.
        arguments: as for `check_library_loss`.
        embedding_size: D.
        num_classes: classes in the training data.

    Raises:
        ValueError: as `check_library_loss`.
    """
    check_library_loss(name, arguments)
    return _build(name.removeprefix(LIBRARY_PREFIX), arguments, embedding_size, num_classes)


def library_loss_names() -> list[str]:
    """Return the names of the classes that can be used, sorted."""
    classes = inspect.getmembers(losses, inspect.isclass)
    return [name for name, kind in classes if issubclass(kind, losses.BaseMetricLossFunction) and name not in _UNUSABLE]


def constructor_defaults(kind: type) -> dict[str, Any]:
    """Return the keyword arguments of a class's constructor and of those that it hands its `**kwargs` on to.

    Returns:
        The defaults by name, `inspect.Parameter.empty` where there is none.
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


def _check_names(class_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a file may give, with their defaults; raise a ValueError for any other."""
    name = LIBRARY_PREFIX + class_name
    if class_name in _UNUSABLE:
        raise ValueError(f"{name} cannot be used: {_UNUSABLE[class_name]}. {_known_losses(class_name)}")
    if class_name not in library_loss_names():
        raise ValueError(f"pytorch-metric-learning has no loss {class_name!r}. {_known_losses(class_name)}")
    known = {
        key: default
        for key, default in constructor_defaults(getattr(losses, class_name)).items()
        if key not in _SET_BY_THE_TRIAL and key not in _NOT_FROM_A_FILE
    }
    for key in arguments:
        if key in _SET_BY_THE_TRIAL:
            raise ValueError(f"{name}: {key} is {_SET_BY_THE_TRIAL[key]}: leave it out")
        if key in _NOT_FROM_A_FILE:
            raise ValueError(f"{name}: {key} cannot be given in a file: {_NOT_FROM_A_FILE[key]}; leave it out")
        if key not in known:
            raise ValueError(unknown_argument(name, key, {key: _shown(key, known[key]) for key in known}))
    missing = [key for key, default in known.items() if default is _REQUIRED and key not in arguments]
    if missing:
        raise ValueError(f"{name} needs a value for {' and '.join(missing)}, which have no default")
    return known


def _known_losses(class_name: str) -> str:
    names = library_loss_names()
    close = get_close_matches(class_name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(LIBRARY_PREFIX + guess for guess in close)}? " if close else ""
    return f"{hint}Known: {', '.join(LIBRARY_PREFIX + known for known in names)}."


def _shown(name: str, default: Any) -> str:
    return f"{name} (no default)" if default is _REQUIRED else f"{name} ({default})"


def _check_type(name: str, key: str, value: Any, default: Any) -> None:
    """Raise a ValueError if `value` is of another kind than the default."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "triplets_per_anchor":
        fits, wanted = value == "all" or (isinstance(value, int) and is_number and value >= 1), "1 or more, or 'all'"
    elif isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, str):
        fits, wanted = isinstance(value, str), "a text"
    else:
        fits, wanted = is_number or (value is None and default is None), "a number"
    if not fits:
        shown = "" if default is _REQUIRED or default is None else f", such as {default!r}, its default"
        raise ValueError(f"{name}: {key} must be {wanted}{shown}; got {value!r}")


def _canonical(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)


def _build(class_name: str, arguments: Mapping[str, Any], embedding_size: int, num_classes: int) -> LibraryLoss:
    kind = getattr(losses, class_name)
    sizes = {"num_classes": num_classes, "embedding_size": embedding_size}
    required = [key for key, default in constructor_defaults(kind).items() if default is _REQUIRED]
    filled = {key: sizes[size] for key, size in _SIZES.items() if key in required}
    loss = kind(**arguments, **filled, collect_stats=False)
    if isinstance(loss, losses.NPairsLoss) or (
        isinstance(loss.distance, distances.LpDistance) and not isinstance(loss, _ON_THE_SPHERE)
    ):
        loss.distance.normalize_embeddings = False
    return LibraryLoss(loss, num_classes if "num_classes" in required else None)


@lru_cache(maxsize=1024)
def _problem_in_training(class_name: str, canonical_arguments: str) -> str | None:
    """Return what goes wrong when the loss is built and trained for two steps; None if nothing does."""
    try:
        loss = _build_for_trial(class_name, canonical_arguments)
        for embeddings in (_trial_embeddings(), _trial_embeddings(), torch.ones(_TRIAL_EMBEDDINGS, _TRIAL_SIZE)):
            leaf = embeddings.requires_grad_()
            value = _trial_value(loss, leaf)
            value.backward()
            if leaf.grad is None or not (value.isfinite() and leaf.grad.isfinite().all()):
                return "its value or its gradient is not finite"
    except Exception as error:  # the library's own: any kind, and all mean that it does not train
        return f"{type(error).__name__}: {error}"
    return None


@lru_cache(maxsize=1024)
def _is_angular(class_name: str, canonical_arguments: str) -> bool:
    loss = _build_for_trial(class_name, canonical_arguments)
    embeddings = _trial_embeddings()
    factors = torch.linspace(1, 3, len(embeddings))[:, None]
    with torch.no_grad():
        return torch.allclose(_trial_value(loss, embeddings), _trial_value(loss, embeddings * factors), rtol=1e-4)


def _build_for_trial(class_name: str, canonical_arguments: str) -> LibraryLoss:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return _build(class_name, json.loads(canonical_arguments), _TRIAL_SIZE, _TRIAL_CLASSES)


def _trial_embeddings() -> Tensor:
    return torch.randn(_TRIAL_EMBEDDINGS, _TRIAL_SIZE, generator=torch.Generator().manual_seed(0))


def _trial_value(loss: LibraryLoss, embeddings: Tensor) -> Tensor:
    labels = torch.arange(_TRIAL_EMBEDDINGS) % _TRIAL_CLASSES
    value: Tensor = loss(embeddings, labels, None, torch.Generator().manual_seed(0))
    return value
