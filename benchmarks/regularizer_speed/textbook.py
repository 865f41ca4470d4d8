"""MDR and distance-weighted mining, written down as the authors' formulas read and left to autograd.

Every intermediate is a matrix of its own: N x N distances, the N (N - 1) of them off the diagonal, L x N (N - 1)
differences to the levels. Source of the formulas: Kim & Park, AAAI 2021, and their public code.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

CUTOFF, NONZERO_LOSS_CUTOFF = 0.5, 1.4
MARGIN = 0.2


def distances_of(embeddings: Tensor) -> Tensor:
    """Return Euclidean distances (N, N), with zeros on the diagonal."""
    norms = (embeddings**2).sum(dim=1)
    squares = norms[:, None] + norms[None, :] - 2 * (embeddings @ embeddings.t())
    distances = squares.clamp(min=1e-12).sqrt()
    index = list(range(len(embeddings)))
    distances = distances.clone()
    distances[index, index] = 0
    return distances


class TextbookMDR(nn.Module):
    """The regulariser with its learnable levels and moving averages."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor([-3.0, 0.0, 3.0]))
        self.mean: Tensor | None = None
        self.std: Tensor | None = None

    def forward(self, embeddings: Tensor) -> Tensor:
        distances = distances_of(embeddings)
        pairs = distances[~torch.eye(len(distances), dtype=torch.bool, device=distances.device)]
        mean, std = distances.flatten().mean().detach(), distances.flatten().std().detach()
        self.mean = mean if self.mean is None else 0.1 * mean + 0.9 * self.mean
        self.std = std if self.std is None else 0.1 * std + 0.9 * self.std
        normalized = (pairs - self.mean) / self.std
        return (normalized[None, :] - self.levels[:, None]).abs().min(dim=0).values.mean()


@torch.no_grad()
def textbook_triplets(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchors, positives and drawn negatives, (T,) each; every ordered positive pair once."""
    embeddings = functional.normalize(embeddings, dim=1)
    dimensions = embeddings.shape[1]
    others = 1 - torch.eye(len(labels), dtype=torch.uint8, device=labels.device)
    positives = (labels[None, :] == labels[:, None]) * others
    negatives = (labels[None, :] != labels[:, None]) * others
    pairs = positives.nonzero()
    diagonal = torch.eye(len(labels), device=labels.device)
    distances = ((distances_of(embeddings) ** 2) + diagonal).sqrt().clamp(min=CUTOFF)
    log_weights = (2.0 - dimensions) * distances.log()
    log_weights = log_weights - ((dimensions - 3.0) / 2.0) * (1.0 - 0.25 * distances * distances).log()
    weights = (log_weights - log_weights.max(dim=1, keepdim=True).values).exp()
    weights = weights * (negatives * (distances < NONZERO_LOSS_CUTOFF)).float()
    weights = weights + ((weights.sum(dim=1, keepdim=True) == 0) * negatives).float()
    weights = weights / weights.sum(dim=1, keepdim=True)
    return pairs[:, 0], pairs[:, 1], torch.multinomial(weights[pairs[:, 0]], 1).squeeze(1)


def textbook_triplet_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return the triplet margin loss on distance-weighted triplets."""
    anchors, positives, negatives = textbook_triplets(embeddings, labels)
    losses = functional.triplet_margin_loss(
        embeddings[anchors], embeddings[positives], embeddings[negatives], margin=MARGIN, reduction="none"
    )
    return losses.mean()
