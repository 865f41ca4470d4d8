"""The interface of metric-learning losses. `mdr_tune.config.losses` lists the losses by name."""

import torch
from torch import Tensor, nn

from mdr_tune.metric.batch_labels import Labels
from mdr_tune.metric.mined import Mined


class MetricLoss(nn.Module):
    """Base class of losses on the embeddings of a whole batch, gathered from all ranks.

    A loss may have parameters of its own, such as proxies or a learned margin.

    Attributes:
        takes_mined: whether the loss uses the triplets or pairs that a miner chose. If False, `mined` must be None,
            which the miner `all` returns.
    """

    takes_mined: bool = True

    def forward(
        self,
        embeddings: Tensor,
        labels: Labels,
        mined: Mined,
        generator: torch.Generator,
        references: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch, of shape (). If there is nothing to compare, the loss and its gradient are 0.

        Args:
            embeddings: (N, D), as `apply_embedding_mode` returns them.
            labels: (N,), int64, class of each embedding; or the `BatchLabels` of these classes. A loss with parameters
                for each class takes classes from 0 to num_classes - 1.
            mined: triplets or pairs that the miner chose; None stands for all of the batch.
            generator: generator for losses with random draws, on the CPU, and in the same state on all ranks.
            references: (R, D), the embeddings of a cross-batch memory that the anchors are compared with, see `Miner`.
                They get no gradient. None: the batch is compared with itself. Only losses that can be computed with
                references are given some.

        Raises:
            ValueError: a shape is wrong, or a label is not one of the classes.
        """
        raise NotImplementedError
