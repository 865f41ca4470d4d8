"""Multi-level Distance Regularization: the regulariser of Kim & Park (AAAI 2021)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mdr_tune.metric.distance import check_embeddings
from mdr_tune.metric.distance_tiles import Statistics, distance_tiles, tile_statistics
from mdr_tune.metric.nearest_level import mean_distance_to_nearest_level


class MDRLoss(nn.Module):
    """Pull each pairwise distance of a mini-batch to the nearest of a few learnable levels.

    Each distance d_ij is normalised by moving averages of the distances' mean and standard deviation: z_ij = (d_ij -
    mean) / std. No gradient flows through the averages. The loss is the mean over i != j of min_k |z_ij - s_k|, where
    s_k are the levels. The caller has to multiply the loss by its weight and to add a decay of the levels.
    Source: Kim & Park, "Multi-level Distance Regularization for Deep Metric Learning", AAAI 2021. The default arguments
    are those of the authors.

    In training mode each call updates the averages and then uses them. The first call sets them to the statistics of
    its batch. In evaluation mode the averages are used but not updated. If there are no averages yet, the statistics of
    the batch are used instead.

    A pair that is equally far from two levels is pulled to the lower level. The authors' code takes the level with the
    lower index, which is the same level while the levels are in ascending order. The gradient is 0 for a pair exactly
    on a level, and for a pair of duplicates (squared distance at or below 1e-12).

    If all distances are equal, their standard deviation is 0 or rounding noise. A standard deviation below the float
    type's epsilon times the mean is therefore replaced by that bound before the division. The moving average itself is
    not changed.

    Args:
        levels: initial levels s_k, in standard deviations from the mean, in any order.
        momentum: share of the old average that is kept at each step, in [0, 1).
        statistics: `official` takes the mean and the standard deviation of all entries of the N x N distance matrix,
            including the zeros of the diagonal, as the authors' code does. `offdiagonal` leaves the diagonal out.
        learn_levels: whether the levels get a gradient. If False, they keep their initial values.

    Attributes:
        levels: parameter (L,). The state dict holds it even if the levels are not learned.
        mean: buffer (), moving average of the mean distance, in the units of the embeddings.
        std: buffer (), moving average of the unbiased standard deviation, in the units of the embeddings.
        initialized: buffer (), bool, whether `mean` and `std` hold averages yet.

    Raises:
        ValueError: `levels` is empty or not finite, `momentum` is not in [0, 1), or `statistics` is unknown.

    Example:
        >>> mdr = MDRLoss(levels=(-2.0, 0.0, 2.0))
        >>> mdr(torch.rand(8, 4)).shape
        torch.Size([])
    """

    levels: nn.Parameter
    mean: Tensor
    std: Tensor
    initialized: Tensor

    def __init__(
        self,
        levels: Sequence[float] = (-3.0, 0.0, 3.0),
        momentum: float = 0.9,
        statistics: Statistics = "official",
        learn_levels: bool = True,
    ) -> None:
        super().__init__()
        if len(levels) == 0 or not all(math.isfinite(level) for level in levels):
            raise ValueError(f"levels must be one or more finite numbers, such as (-3, 0, 3), got {levels!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), the share of the old average kept, got {momentum}")
        if statistics not in ("official", "offdiagonal"):
            raise ValueError(f"statistics must be 'official' or 'offdiagonal', got {statistics!r}")
        self.momentum = momentum
        self.statistics: Statistics = statistics
        self.levels = nn.Parameter(torch.tensor([float(level) for level in levels]), requires_grad=learn_levels)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.zeros(()))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))

    def forward(self, embeddings: Tensor, references: Tensor | None = None) -> Tensor:
        """Return the regularisation loss of a batch, of shape (), in standard deviations of the distances.

        In training mode, also update the moving averages. The loss is computed in the dtype of the levels, or in
        float32 if the levels have a lower precision, whatever the dtype of the embeddings or autocast: half precision
        is too coarse for differences of nearly equal numbers. The gradient of the embeddings has the dtype of the
        embeddings.

        Args:
            embeddings: (N, D), the same that the metric-learning loss gets. N is at least 2, or 3 for `offdiagonal`.
            references: (R, D), further embeddings that each embedding of the batch is paired with, such as those of
                earlier batches; they get no gradient. The loss is then the mean over the N * (N - 1 + R) ordered pairs
                that begin with an embedding of the batch. The statistics are those of the N x (N + R) distances, with
                the zeros of the batch's diagonal if they are `official`.

        Raises:
            TypeError: `embeddings` is not a tensor.
            ValueError: the batch is too small, or `embeddings` has a wrong shape or dtype.
        """
        self._check(embeddings)
        dtype = torch.promote_types(self.levels.dtype, torch.float32)
        embeddings, levels = embeddings.to(dtype), self.levels.to(dtype)
        references = None if references is None else references.detach().to(dtype)
        with torch.no_grad():
            tiles = distance_tiles(embeddings, references=references)
            mean, std = self._averages(*tile_statistics(tiles, self.statistics))
            std = torch.maximum(std, torch.finfo(std.dtype).eps * mean)
        return mean_distance_to_nearest_level(embeddings, levels, tiles, mean, std, references)

    def _averages(self, batch_mean: Tensor, batch_std: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and std to normalise by. In training, first update them by `batch_mean` and `batch_std`."""
        known, old_mean, old_std = self.initialized, self.mean.to(batch_mean.dtype), self.std.to(batch_std.dtype)
        if not self.training:
            return torch.where(known, old_mean, batch_mean), torch.where(known, old_std, batch_std)
        # The first batch replaces the zeros. An `if` would read the flag, and so wait for a GPU where the flag is.
        kept = known.to(batch_mean.dtype).mul_(self.momentum)
        mean, std = torch.lerp(batch_mean, old_mean, kept), torch.lerp(batch_std, old_std, kept)
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.initialized.fill_(True)
        return mean, std

    def _check(self, embeddings: Tensor) -> None:
        check_embeddings(embeddings)
        smallest = 3 if self.statistics == "offdiagonal" else 2
        if len(embeddings) < smallest:
            raise ValueError(
                f"MDR with {self.statistics} statistics needs {smallest} or more embeddings to have a "
                f"standard deviation, got {len(embeddings)}: use a larger batch"
            )

    def extra_repr(self) -> str:
        """Return the arguments that are not tensors, for `print(module)`."""
        return f"momentum={self.momentum}, statistics={self.statistics!r}"
