"""MDR for training code that uses pytorch-metric-learning, without the rest of this package.

    loss = TripletMarginLoss(embedding_regularizer=MDRRegularizer(), embedding_reg_weight=0.6)

See docs/regularizer.md for a complete example.
"""

from collections.abc import Sequence
from typing import Any

from pytorch_metric_learning.regularizers import BaseRegularizer
from torch import Tensor, nn

from mdr_tune.metric.distance_tiles import Statistics
from mdr_tune.metric.mdr import MDRLoss


class MDRRegularizer(BaseRegularizer):
    """Multi-level Distance Regularization as `embedding_regularizer` of a loss of pytorch-metric-learning.

    The library adds embedding_reg_weight * (mdr + level_decay * sum_k s_k^2) to its loss, where s_k are the levels. To
    get the authors' total, dml + weight * mdr + 0.01 * sum_k s_k^2, set `embedding_reg_weight=weight` and
    `level_decay=0.01 / weight`.

    The levels are among `loss.parameters()`, which have to be given to the optimizer. The moving averages are in
    `loss.state_dict()`. `loss.eval()` stops the updates of the averages. The regularisation is computed in the dtype of
    the levels (float32), even if the embeddings are in half precision or `torch.autocast` is on.

    The arguments `levels`, `momentum`, `statistics` and `learn_levels` are those of `MDRLoss`. `level_decay` must be at
    least 0. `**kwargs` are arguments of the library's `BaseRegularizer`.

    Raises:
        ValueError: `MDRLoss` does not accept an argument, or `level_decay` is negative.
    """

    def __init__(
        self,
        levels: Sequence[float] = (-3.0, 0.0, 3.0),
        momentum: float = 0.9,
        statistics: Statistics = "official",
        level_decay: float = 0.0,
        learn_levels: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not level_decay >= 0:
            raise ValueError(f"level_decay must be 0 or more, got {level_decay}")
        self.level_decay = level_decay
        self.mdr = MDRLoss(levels, momentum, statistics, learn_levels)

    @property
    def levels(self) -> nn.Parameter:
        """The levels, (L,), in standard deviations from the mean distance."""
        return self.mdr.levels

    def compute_loss(self, embeddings: Tensor) -> dict[str, dict[str, Any]]:
        """Return the regularisation of `embeddings` (N, D), as the loss got them, for the library's reducers."""
        total = self.mdr(embeddings) + self.level_decay * self.levels.square().sum()
        return {"loss": {"losses": total, "indices": None, "reduction_type": "already_reduced"}}
