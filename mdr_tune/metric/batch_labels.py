"""The labels of a batch and what follows from them alone, worked out on the CPU, so that nobody has to ask a GPU."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdr_tune.metric.transfer import send


@dataclass(frozen=True)
class BatchLabels:
    """The labels of a batch of N, its P positive pairs, and the negatives that they need.

    A positive pair is an ordered pair of two members of a class. There is one for each of its anchor's positives, and
    the pairs are sorted by anchor and then positive. For each of the R anchors as many negatives are drawn as the most
    frequent one needs; some of these draws are left over.

    Example:
        >>> labels = BatchLabels.of(torch.tensor([0, 1, 0]))
        >>> labels.anchors.tolist(), labels.positives.tolist()
        ([0, 2], [2, 0])

    Attributes:
        on_cpu: (N,), the classes, on the CPU.
        values: (N,), the classes, on the device of the embeddings, as are all tensors below.
        anchors: (P,), int64, the pairs' anchors.
        positives: (P,), int64, the pairs' positives.
        rows: (R,), int64, the anchors, each once, ascending.
        slots: (P,), int64, where the draw for a pair is among R x `draws`, counted through row by row.
        draws: draws for each anchor: the most positives that one has; 0 if there are no pairs.
        num_triplets: positive pairs, each with each negative of its anchor.
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
        """Work it out from labels (N,) on the CPU, in time and memory of N + P. The result is on the CPU."""
        count = len(labels)
        _, classes, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
        members = classes.argsort(stable=True)  # (N,), class after class
        place = torch.empty_like(members)
        place[members] = torch.arange(count)
        first_member = (sizes.cumsum(0) - sizes)[classes]  # (N,), where in `members` the own class begins
        positives_of = sizes[classes] - 1  # (N,)
        anchors = torch.arange(count).repeat_interleave(positives_of)
        numbers = torch.arange(len(anchors)) - (positives_of.cumsum(0) - positives_of)[anchors]  # 0, 1, ... per anchor
        places = numbers + first_member[anchors]
        places += places >= place[anchors]  # past the anchor itself
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
        """Return them with every tensor but `on_cpu` changed, such as brought to another memory."""
        return replace(
            self,
            values=change(self.values),
            anchors=change(self.anchors),
            positives=change(self.positives),
            rows=change(self.rows),
            slots=change(self.slots),
        )


Labels = Tensor | BatchLabels
"""What miners and losses take: the classes (N,), or all that is known of them. A tensor on a GPU has to be fetched, for
which the CPU waits."""


def class_ids(labels: Labels) -> Tensor:
    """Return the classes (N,) as a tensor, on the device where they are."""
    return labels.values if isinstance(labels, BatchLabels) else labels


def known_labels(labels: Labels, device: torch.device) -> BatchLabels:
    """Return what is known of a batch's labels, on the device of its embeddings."""
    if isinstance(labels, BatchLabels):
        return labels
    return BatchLabels.of(labels.cpu()).map(lambda tensor: send(tensor, device))
