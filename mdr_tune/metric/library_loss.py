"""Build and check losses of pytorch-metric-learning by their class name, such as `pml.CircleLoss`."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from pytorch_metric_learning import distances, losses
from torch import Tensor

from mdr_tune.metric.library_adapter import LibraryLoss
from mdr_tune.metric.library_arguments import (
    REQUIRED,
    check_loss_class_arguments,
    constructor_defaults,
    loss_class_arguments,
    loss_class_names,
)
from mdr_tune.util.nearest_name import LIBRARY_PREFIX

# Arguments of the library's constructors that are filled in, and the size of the trial that each of them gets.
_SIZES = {"num_classes": "num_classes", "embedding_size": "embedding_size", "descriptors_dim": "embedding_size"}

# Losses that are defined on the unit sphere: they assert it, or (ProxyNCA) compare with proxies on it.
_ON_THE_SPHERE = (losses.AngularLoss, losses.FastAPLoss, losses.ProxyNCALoss)

_TRIAL_EMBEDDINGS, _TRIAL_SIZE, _TRIAL_CLASSES = 12, 6, 4


def check_library_loss(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise a ValueError unless a trial can train with this loss; the message says what would work.

    The loss is built, then computed three times: twice for a dozen random embeddings, and once for a dozen equal ones.
    Each time its value and its gradient must be finite. Results are cached.

    Args:
        name: the prefix `pml.` and the name of a class of `pytorch_metric_learning.losses`.
        arguments: keyword arguments of the class's constructor, as a sweep file gives them.

    Example:
        >>> check_library_loss("pml.CircleLoss", {"m": 0.4})
    """
    class_name = name.removeprefix(LIBRARY_PREFIX)
    check_loss_class_arguments(class_name, arguments)
    problem = _problem_in_training(class_name, _canonical(arguments))
    if problem:
        raise ValueError(f"{name} cannot be used with {dict(arguments) or 'its defaults'}: {problem}")


def library_loss_is_angular(name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether the loss `name` with `arguments` depends only on the directions of embeddings, not on lengths.

    The loss is computed for a dozen embeddings, and again after each is made longer by a factor of its own. It is
    angular if its value stays the same. Losses that are defined on the unit sphere always count as angular, although
    AngularLoss computes one of its products with embeddings as they come. Arguments and errors: see
    `check_library_loss`.
    """
    check_library_loss(name, arguments)
    class_name = name.removeprefix(LIBRARY_PREFIX)
    return issubclass(getattr(losses, class_name), _ON_THE_SPHERE) or _is_angular(class_name, _canonical(arguments))


def library_loss_takes_mined(name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether the loss `name` with `arguments` can be used with a miner other than `all`.

    Some losses cannot, since they choose the pairs of a batch themselves. Arguments and errors: see
    `check_library_loss`.
    """
    check_library_loss(name, arguments)
    return _build_for_trial(name.removeprefix(LIBRARY_PREFIX), _canonical(arguments)).takes_mined


def library_loss_takes_memory(name: str) -> bool:
    """Return whether the loss `name` can compare a batch with a cross-batch memory.

    These are the losses that the library's own memory supports, except NCALoss, which would compare an embedding with
    itself.
    """
    return name.removeprefix(LIBRARY_PREFIX) in {*losses.CrossBatchMemory.supported_losses()} - {"NCALoss"}


def build_library_loss(name: str, arguments: Mapping[str, Any], embedding_size: int, num_classes: int) -> LibraryLoss:
    """Build the loss `name` with `arguments`. Its parameters are drawn from torch's global generator.

    By default, many of the library's losses put embeddings on the unit sphere first. This is switched off for losses of
    the Euclidean distance, and for NPairsLoss, which uses the dot product. It is left on for losses that compare
    cosines, and for AngularLoss, FastAPLoss and ProxyNCALoss, which are defined on the sphere.

    `embedding_size` is the length of an embedding, D, and `num_classes` the number of classes in the training data.
    `name`, `arguments` and errors are those of `check_library_loss`.
    """
    check_library_loss(name, arguments)
    return _build(name.removeprefix(LIBRARY_PREFIX), arguments, embedding_size, num_classes)


def library_loss_names() -> list[str]:
    """Return the names, without the prefix `pml.`, of the library's loss classes that can be used, sorted."""
    return loss_class_names()


def library_loss_arguments(name: str) -> dict[str, Any]:
    """Return the default of each keyword argument that a sweep file may give for the loss `name`.

    The default is `inspect.Parameter.empty` for an argument that must be given. Raise a ValueError if the library has
    no such loss, or it cannot be used; the message says what would work.

    Example:
        >>> library_loss_arguments("pml.CircleLoss")
        {'m': 0.4, 'gamma': 80}
    """
    return loss_class_arguments(name.removeprefix(LIBRARY_PREFIX))


def _canonical(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)


def _build(class_name: str, arguments: Mapping[str, Any], embedding_size: int, num_classes: int) -> LibraryLoss:
    kind = getattr(losses, class_name)
    sizes = {"num_classes": num_classes, "embedding_size": embedding_size}
    required = [key for key, default in constructor_defaults(kind).items() if default is REQUIRED]
    filled = {key: sizes[size] for key, size in _SIZES.items() if key in required}
    with _quiet():
        loss = kind(**arguments, **filled, collect_stats=False)
    if isinstance(loss, losses.NPairsLoss) or (
        isinstance(loss.distance, distances.LpDistance) and not isinstance(loss, _ON_THE_SPHERE)
    ):
        loss.distance.normalize_embeddings = False
    return LibraryLoss(loss, num_classes if "num_classes" in required else None)


@lru_cache(maxsize=1024)
def _problem_in_training(class_name: str, canonical_arguments: str) -> str | None:
    """Return the problem that the loss `class_name` has in a training step, or None. The arguments are JSON text."""
    try:
        loss = _build_for_trial(class_name, canonical_arguments)
        for embeddings in (_trial_embeddings(), _trial_embeddings(), torch.ones(_TRIAL_EMBEDDINGS, _TRIAL_SIZE)):
            leaf = embeddings.requires_grad_()
            value = _trial_value(loss, leaf)
            value.backward()
            if leaf.grad is None or not (value.isfinite() and leaf.grad.isfinite().all()):
                return "its value or its gradient is not finite"
    except Exception as error:  # the library raises errors of any kind, and each means that the loss does not train
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
    with _quiet():
        value: Tensor = loss(embeddings, labels, None, torch.Generator().manual_seed(0))
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's warnings, most of which are about deprecated calls in its own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
