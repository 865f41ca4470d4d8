"""The triplet margin loss on given triplets."""

from torch import Tensor, nn
from torch.nn import functional

from mdr_tune.metric.distance import check_embeddings


class TripletLoss(nn.Module):
    """Mean over triplets of max(0, |anchor - positive| - |anchor - negative| + margin).

    Source: Schroff et al., "FaceNet", CVPR 2015, with distances instead of squared ones; equal to
    `torch.nn.functional.triplet_margin_loss` with its defaults (p = 2, 1e-6 added to each difference), which
    is what the authors' code calls.

    Args:
        margin: in the units of the embeddings, at least 0; 0.2 is the authors'.

    Raises:
        ValueError: `margin` is negative or not a number.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        if not margin >= 0:
            raise ValueError(f"margin must be 0 or more, got {margin}")
        self.margin = margin

    def forward(self, embeddings: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Return the loss; without triplets a zero that still has a (zero) gradient.

        Args:
            embeddings: (N, D).
            anchors: (T,), indices of embeddings.
            positives: (T,), indices of embeddings.
            negatives: (T,), indices of embeddings.

        Returns:
            The loss, of shape (), in the units of the embeddings.

        Raises:
            ValueError: `embeddings` is not (N, D), or the index tensors differ in shape.
        """
        check_embeddings(embeddings)
        if not anchors.shape == positives.shape == negatives.shape:
            raise ValueError(
                "anchors, positives and negatives must have one shape, got "
                f"{tuple(anchors.shape)}, {tuple(positives.shape)}, {tuple(negatives.shape)}"
            )
        if anchors.numel() == 0:
            return embeddings.sum() * 0
        return functional.triplet_margin_loss(
            embeddings[anchors], embeddings[positives], embeddings[negatives], margin=self.margin
        )

    def extra_repr(self) -> str:
        """Return the arguments, for `print(module)`."""
        return f"margin={self.margin}"
