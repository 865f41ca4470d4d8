"""Build and check the user's own losses, which a sweep file names by import paths such as `my_losses:SoftTriple`."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from pytorch_metric_learning import losses
from torch import Tensor, nn

from mdr_tune.metric.library_adapter import LibraryLoss
from mdr_tune.util.call_arguments import call, call_arguments
from mdr_tune.util.import_path import FAILURES, CodeError, defined_at, import_named, said

FILLED = ("num_classes", "embedding_size")
"""Parameters of a loss's constructor that the trial fills in."""
_EMBEDDINGS, _SIZE, _CLASSES = 12, 6, 4
_RANDOM = 2
"""Number of random batches, which are the first of `trial_batches`."""


class LossFacts(NamedTuple):
    """Facts about a loss, found by building it and computing it for a few embeddings.

    Attributes:
        is_angular: whether the loss depends on the directions of embeddings only.
        takes_mined: whether the loss takes the pairs or triplets of a miner.
        has_parameters: whether the loss has parameters of its own.
        is_flat: whether its gradient is 0 for all embeddings that were tried.
    """

    is_angular: bool
    takes_mined: bool
    has_parameters: bool
    is_flat: bool


class ImportedLoss(LibraryLoss):
    """Adapter of the user's `loss`, whose import path is `name`. It checks the values that the loss returns.

    The loss takes (embeddings, labels), or like pytorch-metric-learning's losses (embeddings, labels, indices_tuple).
    It may draw from torch's global generator, which is then seeded alike on all ranks.

    Attributes:
        gave_gradient: whether the last value of the user's loss has a gradient. The adapter's value always has one.
    """

    gave_gradient = False

    def __init__(self, name: str, loss: nn.Module, num_classes: int | None = None) -> None:
        is_of_library = isinstance(loss, losses.BaseMetricLossFunction)
        if is_of_library:
            super().__init__(loss, num_classes)
        else:
            nn.Module.__init__(self)
            self.loss, self.num_classes = loss, num_classes
            self.takes_mined = _takes_indices(name, loss)
        self.name = name
        self._passes_indices = is_of_library or self.takes_mined

    def _value(
        self, embeddings: Tensor, labels: Tensor, indices: tuple[Tensor, ...] | None, *compared: Tensor
    ) -> Tensor:
        assert not compared  # a sweep file with a memory is refused
        given = (embeddings, labels, indices) if self._passes_indices else (embeddings, labels)
        value = self.loss(*given)
        problem = _problem_of_value(value, len(labels))
        if problem:
            raise CodeError(f"{self.name}{defined_at(type(self.loss).forward)} {problem}")
        self.gave_gradient = value.requires_grad
        return value  # type: ignore[no-any-return]


def _takes_indices(name: str, loss: nn.Module) -> bool:
    """Return whether `forward` of `loss` has a third parameter; raise CodeError if it does not take two."""
    forward = inspect.signature(loss.forward)
    for numbers, takes in ((3, True), (2, False)):
        try:
            forward.bind(*range(numbers))
        except TypeError:
            continue
        return takes
    raise CodeError(
        f"{name}{defined_at(type(loss).forward)}: forward{forward} must take (embeddings, labels), or as in "
        "pytorch-metric-learning (embeddings, labels, indices_tuple)"
    )


def _problem_of_value(value: Any, batch: int) -> str | None:
    """Return what is wrong with the `value` of a loss of `batch` embeddings; None if it is a number with a gradient."""
    if not isinstance(value, Tensor):
        return f"returns a {type(value).__name__}: return a tensor of one number, with its gradient"
    if not value.is_floating_point():
        return f"returns {value.dtype}, which has no gradient: return a tensor of floating-point numbers"
    if value.numel() != 1:
        shape = f"({', '.join(map(str, value.shape))})"
        hint = (
            ": return its mean, .mean()" if tuple(value.shape) == (batch,) else ": return one number, the batch's loss"
        )
        return f"returns a tensor of shape {shape} for {batch} embeddings{hint}"
    return None


def build_imported_loss(name: str, arguments: Mapping[str, Any], embedding_size: int, num_classes: int) -> ImportedLoss:
    """Build the loss with the import path `name`. Its parameters are drawn from torch's global generator.

    `arguments` are those of the sweep file. `embedding_size` and `num_classes` are filled in where the class or
    function has parameters with these names. CodeError is raised if the loss cannot be built.
    """
    function = import_named(name)
    taken = call_arguments(function, FILLED)
    sizes = {"num_classes": num_classes, "embedding_size": embedding_size}
    loss = call(name, function, {**taken.check(name, arguments), **{key: sizes[key] for key in taken.filled}})
    if not isinstance(loss, nn.Module):
        raise CodeError(
            f"{name}{defined_at(function)} gives a {type(loss).__name__}: name a class of losses, or a function that "
            "returns one, a torch.nn.Module"
        )
    return ImportedLoss(name, loss, num_classes if "num_classes" in taken.filled else None)


def imported_loss_facts(name: str, arguments: Mapping[str, Any]) -> LossFacts:
    """Return facts about the loss `name` with `arguments`, by computing it for random embeddings. Results are cached.

    Raises:
        CodeError: The loss cannot be built or trained with. The message has the user's own line where it is known.
    """
    facts = _facts(name, import_named(name), json.dumps(dict(arguments), sort_keys=True, default=str))
    if isinstance(facts, str):
        raise CodeError(facts)
    return facts


@lru_cache(maxsize=1024)
def _facts(name: str, function: Callable[..., Any], canonical_arguments: str) -> LossFacts | str:
    """Return the facts about a loss, or its problem as text. `function`, named by `name`, is part of the cache key."""
    try:
        loss = build_for_trial(name, json.loads(canonical_arguments))
        batch = check_trains(loss)
        is_angular = batch is not None and _is_angular(loss, *batch)
    except CodeError as error:
        return str(error)
    return LossFacts(is_angular, loss.takes_mined, next(loss.parameters(), None) is not None, batch is None)


def build_for_trial(name: str, arguments: Mapping[str, Any]) -> ImportedLoss:
    """Build the loss `name` for embeddings as `trial_batch` returns them; its parameters are the same at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build_imported_loss(name, arguments, _SIZE, _CLASSES)


def trial_batch(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return twelve random embeddings (12, 6), and their labels (12,), of four classes."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(_EMBEDDINGS, _SIZE, generator=generator, dtype=torch.float64).to(dtype)
    return embeddings, torch.arange(_EMBEDDINGS) % _CLASSES


def trial_batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches to try a loss or miner with: embeddings (12, 6) and labels (12,).

    First come two random batches, then one each with classes far apart, with mixed classes, with small and with large
    distances. A loss with a margin may be 0 for some of these batches, and a miner may choose nothing.
    """
    for seed in range(_RANDOM):
        yield trial_batch(seed=seed)
    embeddings, labels = trial_batch()
    places = 3 * torch.eye(_SIZE)
    yield places[labels] + 0.1 * embeddings, labels
    yield places[torch.arange(_EMBEDDINGS) // _CLASSES] + 0.1 * embeddings, labels
    yield 0.01 * embeddings, labels
    yield 10 * embeddings, labels


def value_of(loss: ImportedLoss, embeddings: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """Return the loss of a batch without mined pairs. An error of the user's code is raised as CodeError."""
    try:
        return loss(embeddings, labels, None, torch.Generator().manual_seed(seed))  # type: ignore[no-any-return]
    except CodeError:
        raise
    except FAILURES as error:
        raise CodeError(f"{loss.name} fails on {len(labels)} embeddings: {said(error)}") from None


def check_trains(loss: ImportedLoss) -> tuple[Tensor, Tensor] | None:
    """Return the first of `trial_batches` that gives `loss` a gradient other than 0; None if the gradient is always 0.

    A loss with a margin has a gradient of 0 where the margin is kept.

    Raises:
        CodeError: No batch has a gradient, or for a random batch, the value or its gradient is not finite.
    """
    has_gradient = False
    found = None
    for number, (embeddings, labels) in enumerate(trial_batches()):
        is_random = number < _RANDOM
        if is_random or found is None:
            gradient = _gradient(loss, embeddings, labels, must_be_finite=is_random)
            has_gradient = has_gradient or gradient is not None
            is_flat = gradient is None or not gradient.isfinite().all() or not gradient.any()
            found = (embeddings, labels) if found is None and not is_flat else found
    if not has_gradient:
        raise CodeError(
            f"{loss.name}{defined_at(type(loss.loss).forward)}: its value has no gradient with regard to the "
            "embeddings: is there a detach(), item() or argmax() on the way?"
        )
    return found


def _gradient(loss: ImportedLoss, embeddings: Tensor, labels: Tensor, must_be_finite: bool) -> Tensor | None:
    """Return the gradient (12, 6) by the embeddings; None if no autograd graph leads from the value to them."""
    where = f"{loss.name}{defined_at(type(loss.loss).forward)}"
    leaf = embeddings.clone().requires_grad_()
    value = value_of(loss, leaf, labels)
    if must_be_finite and not value.isfinite():
        raise CodeError(f"{where} returns {value.item()} for random embeddings")
    try:
        value.backward()
    except FAILURES as error:
        raise CodeError(f"{where} has no gradient: {said(error)}") from None
    if leaf.grad is not None and must_be_finite and not leaf.grad.isfinite().all():
        raise CodeError(f"{where}: the gradient of its value is not finite for random embeddings")
    return leaf.grad if loss.gave_gradient else None


def _is_angular(loss: ImportedLoss, embeddings: Tensor, labels: Tensor) -> bool:
    factors = torch.linspace(1, 3, len(embeddings))[:, None]
    with torch.no_grad():
        return torch.allclose(
            value_of(loss, embeddings, labels), value_of(loss, embeddings * factors, labels), rtol=1e-4
        )


def loss_note(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a note for the plan if the gradient of the loss `name` is 0 for all embeddings that were tried; else ``.

    Raises:
        CodeError: As `imported_loss_facts` raises it.
    """
    if not imported_loss_facts(name, arguments).is_flat:
        return ""
    return (
        f"{name}: the loss has a gradient of 0 for all random embeddings that were tried: from there it trains nothing"
    )
