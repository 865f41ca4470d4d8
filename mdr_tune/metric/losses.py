"""What metric-learning losses have in common. `mdr_tune.config.losses` has them by name."""

import torch
from torch import Tensor, nn

from mdr_tune.metric.batch_labels import Labels
from mdr_tune.metric.mined import Mined

LIBRARY_PREFIX = "pml."
"""Begins the names of losses that are looked up in pytorch-metric-learning, such as `pml.CircleLoss`."""


class MetricLoss(nn.Module):
    """A loss on the embeddings of a whole, gathered batch. Its parameters (proxies, a margin) are its own.

    Attributes:
        takes_mined: whether it heeds what a miner chose; one that does not is given None (the miner `all`).
    """

    takes_mined: bool = True

    def forward(self, embeddings: Tensor, labels: Labels, mined: Mined, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch; where there is nothing to compare, a zero with a (zero) gradient.

        Args:
            embeddings: (N, D), as `apply_embedding_mode` left them.
            labels: (N,), int64, or what is known of them; 0 to num_classes - 1 for losses that have a parameter for
                each class.
            mined: what the miner chose; None is everything.
            generator: what a loss that draws at random draws from, on the CPU, in the same state on all ranks.

        Returns:
            The loss, of shape ().

        Raises:
            ValueError: wrong shapes, or labels beyond the classes.
        """
        raise NotImplementedError
