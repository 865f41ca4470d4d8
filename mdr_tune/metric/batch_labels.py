"""The labels of a batch and its positive pairs, computed on the CPU to avoid waits for a GPU."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdr_tune.metric.transfer import send


@dataclass(frozen=True)
class BatchLabels:
    """The labels of a batch of N embeddings, its P positive pairs, and the number of negatives to draw for them.

    A positive pair is an ordered pair (anchor, positive) of two members of a class. The pairs are sorted by anchor and
    then positive. The embeddings with at least one pair are the anchors; their number is A. Each anchor gets the same
    number of draws of negatives, as many as the anchor with the most pairs needs. An anchor with fewer pairs leaves
    some of its draws unused. In the example, embeddings 0 and 2 are of one class, which makes two ordered pairs.

    Example:
        >>> labels = BatchLabels.of(torch.tensor([0, 1, 0]))
        >>> labels.anchors.tolist(), labels.positives.tolist()
        ([0, 2], [2, 0])

    `against` makes the labels of a batch whose embeddings, the anchors, are compared with R references: those in a
    cross-batch memory, the last N of which are the batch itself. A positive is then a reference of the anchor's class
    other than the anchor itself, and a negative a reference of another class.

    Attributes:
        on_cpu: (N,), class of each embedding, on the CPU.
        values: (N,), class of each embedding, on the device of the embeddings, as all tensors below.
        anchors: (P,), int64, the anchor of each pair.
        positives: (P,), int64, the positive of each pair, an index into the batch or into the references.
        rows: (A,), int64, the anchors, each once, ascending.
        slots: (P,), int64, the index of each pair's draw in the flattened (A, draws) matrix of all draws.
        draws: number of negatives to draw for each anchor: the greatest number of pairs of an anchor; 0 without pairs.
        num_triplets: number of triplets of the batch: each positive pair with each negative of its anchor.
        of_references: (R,), class of each reference; None if the batch is compared with itself.
    """

    on_cpu: Tensor
    values: Tensor
    anchors: Tensor
    positives: Tensor
    rows: Tensor
    slots: Tensor
    draws: int
    num_triplets: int
    of_references: Tensor | None = None

    @property
    def compared(self) -> Tensor:
        """Class of each embedding that the anchors are compared with: (N,), or (R,) with references."""
        return self.values if self.of_references is None else self.of_references

    @classmethod
    def of(cls, labels: Tensor) -> "BatchLabels":
        """Compute the `BatchLabels` of `labels` (N,). All tensors are on the CPU. Time and memory grow with N + P."""
        count = len(labels)
        _, classes, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
        members = classes.argsort(stable=True)  # (N,), class after class
        place = torch.empty_like(members)
        place[members] = torch.arange(count)
        first_member = (sizes.cumsum(0) - sizes)[classes]  # (N,), where each embedding's class begins in `members`
        positives_of = sizes[classes] - 1  # (N,)
        anchors = torch.arange(count).repeat_interleave(positives_of)
        numbers = torch.arange(len(anchors)) - (positives_of.cumsum(0) - positives_of)[anchors]  # 0, 1, ... per anchor
        places = numbers + first_member[anchors]
        places += places >= place[anchors]  # skips the anchor itself
        return cls._of_pairs(labels, anchors, members[places], positives_of, numbers, count - 1)

    @classmethod
    def against(cls, labels: Tensor, references: Tensor) -> "BatchLabels":
        """Compute the `BatchLabels` of a batch that is compared with references.

        `labels` (N,) are the classes of the batch, and `references` (R,) the classes of the references. The last N
        references are the batch itself. All tensors are on the CPU. Time and memory grow with N * R.
        """
        is_positive = labels[:, None] == references  # (N, R)
        own_columns(is_positive).fill_diagonal_(False)
        anchors, positives = is_positive.nonzero(as_tuple=True)
        positives_of = is_positive.sum(dim=1)
        numbers = torch.arange(len(anchors)) - (positives_of.cumsum(0) - positives_of)[anchors]
        known = cls._of_pairs(labels, anchors, positives, positives_of, numbers, len(references) - 1)
        return replace(known, of_references=references)

    @classmethod
    def _of_pairs(
        cls, labels: Tensor, anchors: Tensor, positives: Tensor, positives_of: Tensor, numbers: Tensor, others: int
    ) -> "BatchLabels":
        """Return the `BatchLabels` of the given pairs.

        `positives_of` (N,) is the number of pairs of each embedding. `numbers` (P,) numbers the pairs of each anchor,
        from 0. `others` is the number of embeddings that each anchor is compared with.
        """
        draws = int(positives_of.max()) if len(labels) else 0
        row_of = (positives_of > 0).cumsum(0) - 1
        return cls(
            on_cpu=labels,
            values=labels,
            anchors=anchors,
            positives=positives,
            rows=positives_of.nonzero().squeeze(1),
            slots=row_of[anchors] * draws + numbers,
            draws=draws,
            num_triplets=int((positives_of * (others - positives_of)).sum()),
        )

    def __len__(self) -> int:
        return len(self.on_cpu)

    def map(self, change: Callable[[Tensor], Tensor]) -> "BatchLabels":
        """Return a copy with `change` applied to every tensor except `on_cpu`, for example to send them to a GPU."""
        return replace(
            self,
            values=change(self.values),
            anchors=change(self.anchors),
            positives=change(self.positives),
            rows=change(self.rows),
            slots=change(self.slots),
            of_references=None if self.of_references is None else change(self.of_references),
        )


Labels = Tensor | BatchLabels
"""Labels that miners and losses take: the class of each embedding, (N,), or the `BatchLabels` of these classes.

If the labels are a tensor on a GPU, the CPU has to wait for a copy of this tensor.
"""


def class_ids(labels: Labels) -> Tensor:
    """Return the classes (N,) as a tensor: `labels` itself, or the `values` of its `BatchLabels`."""
    return labels.values if isinstance(labels, BatchLabels) else labels


def own_columns(matrix: Tensor) -> Tensor:
    """Return the last N columns (N, N) of `matrix` (N, R), whose rows stand for anchors and columns for references.

    The last N references are the batch itself, so the result's diagonal belongs to pairs of an anchor with itself.
    """
    return matrix[:, matrix.shape[1] - len(matrix) :]


def known_labels(labels: Labels, device: torch.device) -> BatchLabels:
    """Return the `BatchLabels` of `labels`. If `labels` is a tensor, they are computed and sent to `device`."""
    if isinstance(labels, BatchLabels):
        return labels
    return BatchLabels.of(labels.cpu()).map(lambda tensor: send(tensor, device))
