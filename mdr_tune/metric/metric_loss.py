"""The interface of metric-learning losses. `mdr_tune.config.losses` lists the losses by name."""

import torch
from torch import Tensor, nn

from mdr_tune.metric.batch_labels import Labels
from mdr_tune.metric.mined import Mined


class MetricLoss(nn.Module):
    """A loss on the embeddings of a whole, gathered batch. Its parameters, such as proxies or a margin, belong to it.

    Attributes:
        takes_mined: whether the loss uses the choice of a miner. A loss that does not must be given None, which is the
            choice of the miner `all`.
    """

    takes_mined: bool = True

    def forward(self, embeddings: Tensor, labels: Labels, mined: Mined, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch. Where there is nothing to compare, it is a zero with a gradient of zeros.

        Args:
            embeddings: (N, D), as `apply_embedding_mode` returns them.
            labels: (N,), int64, the classes; or their `BatchLabels`. For losses that have a parameter for each class,
                classes are 0 to num_classes - 1.
            mined: choice of the miner; None is everything.
            generator: generator for losses that draw at random, on the CPU, in the same state on all ranks.

        Returns:
            The loss, of shape ().

        Raises:
            ValueError: wrong shapes, or labels beyond the classes.
        """
        raise NotImplementedError
