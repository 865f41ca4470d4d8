"""Metric-learning losses by name, and what they have in common."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mdr_tune.catalog import LOSSES
from mdr_tune.metric.arguments import check_arguments
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


def build_loss(name: str, arguments: Mapping[str, Any], embedding_size: int, num_classes: int) -> MetricLoss:
    """Return a new loss; its parameters are drawn from torch's global generator.

    Args:
        name: one of `mdr_tune.catalog.LOSSES`, or `pml.` and the name of a class of
            `pytorch_metric_learning.losses`.
        arguments: its keyword arguments; those left out have their defaults.
        embedding_size: D.
        num_classes: classes in the training data, for losses that have a parameter for each.

    Raises:
        ValueError: an unknown name (the known ones are listed) or an unknown argument, either an `UnknownName`; or a
            value that the loss refuses.

    Example:
        >>> build_loss("triplet", {"margin": 0.1}, embedding_size=128, num_classes=10)
        TripletLoss(margin=0.1)
    """
    if name.startswith(LIBRARY_PREFIX):
        # Here, not above: most runs do without the library, and it takes seconds to import.
        from mdr_tune.metric.library_loss import build_library_loss

        return build_library_loss(name, arguments, embedding_size, num_classes)
    if name not in LOSSES:
        raise LOSSES.unknown(name, f" {LIBRARY_PREFIX}ClassName is any other loss of pytorch-metric-learning.")
    factory = LOSSES[name]
    check_arguments(f"loss {name!r}", factory, arguments, reserved=("embedding_size", "num_classes"))
    return factory(embedding_size, num_classes, **arguments)
