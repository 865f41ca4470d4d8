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
    then positive. R of the embeddings are the anchor of at least one pair. Each of these R anchors gets the same number
    of draws of negatives, as many as the anchor with the most pairs needs. An anchor with fewer pairs leaves some of
    its draws unused. In the example, embeddings 0 and 2 are of one class, which makes two ordered pairs.

    Example:
        >>> labels = BatchLabels.of(torch.tensor([0, 1, 0]))
        >>> labels.anchors.tolist(), labels.positives.tolist()
        ([0, 2], [2, 0])

    Attributes:
        on_cpu: (N,), class of each embedding, on the CPU.
        values: (N,), class of each embedding, on the device of the embeddings, as all tensors below.
        anchors: (P,), int64, the anchor of each pair.
        positives: (P,), int64, the positive of each pair.
        rows: (R,), int64, the anchors, each once, ascending.
        slots: (P,), int64, the index of each pair's draw in the flattened (R, draws) matrix of all draws.
        draws: number of negatives to draw for each anchor: the greatest number of pairs of an anchor; 0 without pairs.
        num_triplets: number of triplets of the batch: each positive pair with each negative of its anchor.
    """

    on_cpu: Tensor
    values: Tensor
    anchors: Tensor
    positives: Tensor
    rows: Tensor
    slots: Tensor
    draws: int
    num_triplets: int

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
        draws = int(positives_of.max()) if count else 0
        row_of = (positives_of > 0).cumsum(0) - 1
        return cls(
            on_cpu=labels,
            values=labels,
            anchors=anchors,
            positives=members[places],
            rows=positives_of.nonzero().squeeze(1),
            slots=row_of[anchors] * draws + numbers,
            draws=draws,
            num_triplets=int((positives_of * (count - 1 - positives_of)).sum()),
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
        )


Labels = Tensor | BatchLabels
"""Labels that miners and losses take: the class of each embedding, (N,), or the `BatchLabels` of these classes.

If they are a tensor on a GPU, the CPU has to wait until the tensor is copied to it.
"""


def class_ids(labels: Labels) -> Tensor:
    """Return the classes (N,) as a tensor: `labels` itself, or the `values` of its `BatchLabels`."""
    return labels.values if isinstance(labels, BatchLabels) else labels


def known_labels(labels: Labels, device: torch.device) -> BatchLabels:
    """Return the `BatchLabels` of `labels`. If `labels` is a tensor, they are computed and sent to `device`."""
    if isinstance(labels, BatchLabels):
        return labels
    return BatchLabels.of(labels.cpu()).map(lambda tensor: send(tensor, device))
