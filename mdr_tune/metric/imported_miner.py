"""Build and check the user's own miners, which a sweep file names by import paths such as `my_miners:EasyPositive`."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from mdr_tune.metric.imported_loss import trial_batch, trial_batches
from mdr_tune.metric.library_miner import LibraryMiner
from mdr_tune.metric.library_random import library_draws_from
from mdr_tune.metric.mined import Pairs, Triplets
from mdr_tune.util.call_arguments import call, call_arguments
from mdr_tune.util.import_path import FAILURES, CodeError, defined_at, import_named, said


class ImportedMiner(LibraryMiner):
    """Adapter of the user's miner, whose import path is `name`. It checks the indices that the miner returns.

    The miner takes (embeddings, labels), and returns indices as pytorch-metric-learning's miners do: triplets (anchors,
    positives, negatives), or pairs (anchors, positives, anchors, negatives). It may draw from torch's global generator,
    which is then seeded alike on all ranks.
    """

    def __init__(self, name: str, miner: Callable[..., Any]) -> None:
        super().__init__(miner)
        self.name = name

    def _mine(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        with library_draws_from(generator, embeddings.device):
            indices = self._miner(embeddings, labels)
        problem = _problem_of_indices(indices)
        if problem:
            raise CodeError(f"{self.name}{where_called(self._miner)} {problem}")
        return tuple(one.to(embeddings.device) for one in indices)


def where_called(miner: Callable[..., Any]) -> str:
    """Return ` (file:line)` of the code that runs if `miner` is called; "" if it is not known."""
    kind: Any = type(miner)
    return defined_at(miner) or defined_at(kind.forward if hasattr(kind, "forward") else kind.__call__)


def _problem_of_indices(indices: Any) -> str | None:
    """Return what is wrong with the `indices` that a miner returned. Nothing is read from a GPU."""
    wanted = "return (anchors, positives, negatives), or (anchors, positives, anchors, negatives)"
    if not isinstance(indices, tuple | list) or not all(isinstance(one, Tensor) for one in indices):
        return f"returns a {type(indices).__name__}, not a tuple of tensors: {wanted}"
    if len(indices) not in (3, 4):
        return f"returns {len(indices)} tensors: {wanted}"
    for one in indices:
        if one.ndim != 1 or one.dtype != torch.int64:
            shape = f"({', '.join(map(str, one.shape))})"
            return f"returns indices of shape {shape}, {one.dtype}: return int64 of shape (n,)"
    lengths = [len(one) for one in indices]
    if lengths[0] != lengths[1] or lengths[-1] != lengths[-2 if len(indices) == 4 else 0]:
        return f"returns indices of the lengths {', '.join(map(str, lengths))}: {wanted}, of one length each"
    return None


def build_imported_miner(name: str, arguments: Mapping[str, Any]) -> ImportedMiner:
    """Build the miner `name`, an import path, with the `arguments` of the sweep file; raise CodeError if that fails."""
    function = import_named(name)
    miner = call(name, function, call_arguments(function).check(name, arguments))
    if not callable(miner):
        raise CodeError(f"{name}{defined_at(function)} gives a {type(miner).__name__}, which cannot be called")
    return ImportedMiner(name, miner)


def check_imported_miner(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise CodeError unless the miner `name` with `arguments` chooses valid pairs or triplets of trial batches."""
    found = _tried(name, import_named(name), json.dumps(dict(arguments), sort_keys=True, default=str))
    if isinstance(found, str):
        raise CodeError(found)


def miner_note(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a note for the plan if the miner `name`, which was checked, chooses nothing of trial batches; else ``."""
    chose = _tried(name, import_named(name), json.dumps(dict(arguments), sort_keys=True, default=str))
    return "" if chose else f"{name}: the miner chooses no pair or triplet of random embeddings"


@lru_cache(maxsize=1024)
def _tried(name: str, function: Callable[..., Any], canonical_arguments: str) -> bool | str:
    """Return whether the miner chooses any pair or triplet of `trial_batches`, or its problem as text."""
    try:
        miner = build_imported_miner(name, json.loads(canonical_arguments))
        return any(len(mined_in_trial(miner, batch).anchors) > 0 for batch in trial_batches())
    except CodeError as error:
        return str(error)


def mined_in_trial(miner: ImportedMiner, batch: tuple[Tensor, Tensor] | None = None) -> Triplets | Pairs:
    """Return the pairs or triplets that `miner` chooses in `batch` (embeddings, labels); None: in a random batch.

    Raises:
        CodeError: The miner fails, or its choice is not valid.
    """
    embeddings, labels = batch or trial_batch()
    try:
        mined = miner(embeddings, labels, torch.Generator().manual_seed(0))
    except CodeError:
        raise
    except FAILURES as error:
        raise CodeError(f"{miner.name} fails on {len(labels)} embeddings: {said(error)}") from None
    where = f"{miner.name}{where_called(miner._miner)}"
    indices = [one for one in mined if one.ndim == 1]
    if any(((one < 0) | (one >= len(labels))).any() for one in indices):
        raise CodeError(f"{where} returns indices outside of the batch of {len(labels)} embeddings")
    negative_anchors = mined.negative_anchors if isinstance(mined, Pairs) else mined.anchors
    if (labels[mined.anchors] != labels[mined.positives]).any():
        raise CodeError(f"{where} returns positives of another class than their anchors")
    if (labels[negative_anchors] == labels[mined.negatives]).any():
        raise CodeError(f"{where} returns negatives of the class of their anchors")
    return mined
