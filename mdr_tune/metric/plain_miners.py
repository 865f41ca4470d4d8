"""The two plain miners: one chooses all pairs or triplets, the other a random negative for each positive pair."""

import torch
from torch import Tensor

from mdr_tune.metric.batch_labels import Labels, class_ids, known_labels
from mdr_tune.metric.distance import check_embeddings, full_precision
from mdr_tune.metric.mined import Triplets, check_generator, draw_negatives, no_triplets


class AllMiner:
    """Choose all pairs, or all triplets, of the batch for the loss."""

    can_fall_back = False

    def __call__(
        self, embeddings: Tensor, labels: Labels, generator: torch.Generator, references: Tensor | None = None
    ) -> None:
        """Return None, which stands for all pairs or triplets. Arguments and errors are those of `Miner`."""
        check_embeddings(embeddings, class_ids(labels))


class RandomMiner:
    """Use every ordered positive pair once, with a negative drawn uniformly from all negatives of its anchor."""

    can_fall_back = False

    @torch.no_grad()
    def __call__(
        self, embeddings: Tensor, labels: Labels, generator: torch.Generator, references: Tensor | None = None
    ) -> Triplets:
        """Draw the triplets of a batch, ordered by anchor and then positive. See `Miner` for the arguments."""
        check_embeddings(embeddings, class_ids(labels))
        check_generator(generator)
        known = known_labels(labels, embeddings.device)
        if known.num_triplets == 0:
            return no_triplets(embeddings)
        is_negative = known.values[:, None] != known.compared  # (N, N), or (N, R) with references
        negatives = draw_negatives(is_negative.to(full_precision(embeddings).dtype), known, generator)
        return Triplets(known.anchors, known.positives, negatives, embeddings.new_zeros(()))
