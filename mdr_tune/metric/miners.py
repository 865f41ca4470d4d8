"""Miners by name, and the two plain ones: everything, and a random negative for each positive pair."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mdr_tune.catalog import MINERS
from mdr_tune.metric.arguments import check_arguments
from mdr_tune.metric.batch_labels import Labels, class_ids, known_labels
from mdr_tune.metric.distance import check_embeddings, full_precision
from mdr_tune.metric.mined import Miner, Triplets, check_generator, draw_negatives, no_triplets


def build_miner(name: str, arguments: Mapping[str, Any]) -> Miner:
    """Return a miner.

    Args:
        name: one of `mdr_tune.catalog.MINERS`.
        arguments: its keyword arguments; those left out have their defaults.

    Raises:
        ValueError: an unknown name (the known ones are listed) or an unknown argument, either an `UnknownName`; or a
            value that the miner refuses.

    Example:
        >>> build_miner("semi_hard", {"margin": 0.1}).can_fall_back
        False
    """
    factory = MINERS[name]
    check_arguments(f"miner {name!r}", factory, arguments)
    return factory(**arguments)


class AllMiner:
    """Leave nothing out: the loss sees all pairs, or all triplets, of the batch."""

    can_fall_back = False

    def __call__(self, embeddings: Tensor, labels: Labels, generator: torch.Generator) -> None:
        """Return None, which stands for everything. Arguments and errors are those of `Miner`."""
        check_embeddings(embeddings, class_ids(labels))


class RandomMiner:
    """Use every ordered positive pair once, with a negative drawn uniformly from all of the anchor's."""

    can_fall_back = False

    @torch.no_grad()
    def __call__(self, embeddings: Tensor, labels: Labels, generator: torch.Generator) -> Triplets:
        """Draw the triplets of a batch, ordered by anchor and then positive. See `Miner` for the arguments."""
        check_embeddings(embeddings, class_ids(labels))
        check_generator(generator)
        known = known_labels(labels, embeddings.device)
        if known.num_triplets == 0:
            return no_triplets(embeddings)
        is_negative = known.values[:, None] != known.values  # (N, N)
        negatives = draw_negatives(is_negative.to(full_precision(embeddings).dtype), known, generator)
        return Triplets(known.anchors, known.positives, negatives, embeddings.new_zeros(()))
