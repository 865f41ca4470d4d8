"""Whether all embeddings have become one: how far apart those of a batch are, and when that is too little to rank by.

Any loss can end there: a margin that no triplet meets pushes every embedding to one point, or, on a sphere, to points
that are all equally far from each other. All images are then each other's neighbours, and what MDR divides by, the
deviation of the distances, is zero.
"""

import torch

from mdr_tune.metric import EmbeddingMode, apply_test_mode

LEAST_RELATIVE_STD = 1e-3
"""Deviation of the distances over their mean, below which they are one distance. Of independent normal coordinates it
is 1 / sqrt(2 D): 0.03 for D = 512, 0.016 for 2048, and 0.001 for half a million. Networks that were never trained have
0.03 (2,048 dimensions, normalised) to 0.5, as their embeddings fill few dimensions."""
LEAST_STD_IN_ROUNDING = 1 / 8
"""The same over the embeddings' norm, in units of what a number is rounded by in the trial's precision: 1.5e-8 of the
norm for fp32, 1e-4 for fp16, 1e-3 for bf16. Where all embeddings are one but for rounding, the mean distance is about
that much, and its deviation less by sqrt(2 D). Networks that were never trained have
0.02 of the norm, and more."""


@torch.no_grad()
def distance_moments(embeddings: torch.Tensor, mode: EmbeddingMode) -> tuple[float, float, float]:
    """Return mean and standard deviation of the distances between the embeddings of a batch, and their norm.

    The distances are those of retrieval: embeddings of the mode `l2` are normalised first, others are left raw. In
    float64, and around their centre, so that what is measured is not the rounding of |a|^2 + |b|^2 - 2ab.

    Args:
        embeddings: (N, D), raw, of the global batch; N is at least 3.
        mode: Of the trial.

    Returns:
        Mean and population standard deviation of the Euclidean distances off the diagonal, and the root mean square of
        the norms, all in the units of the embeddings.
    """
    seen = apply_test_mode(embeddings.double(), mode)
    count = len(seen)
    centred = seen - seen.mean(dim=0)
    squared_norms = centred.pow(2).sum(dim=1)  # (N,)
    squared = (squared_norms[:, None] + squared_norms[None, :] - 2 * centred @ centred.t()).clamp(min=0)  # (N, N)
    distances = squared.fill_diagonal_(0).sqrt()
    pairs = count * (count - 1)
    mean = distances.sum() / pairs
    variance = (distances - mean).fill_diagonal_(0).pow(2).sum() / pairs
    return float(mean), float(variance.sqrt()), float(seen.pow(2).sum(dim=1).mean().sqrt())


def is_collapsed(mean: float, std: float, norm: float, precision: torch.dtype) -> bool:
    """Return whether the distances of a batch do not differ by enough to mean anything.

    Args:
        mean: Of the distances.
        std: Of the distances.
        norm: Root mean square of the embeddings' norms.
        precision: What the network computes in.
    """
    rounding = torch.finfo(precision).eps * norm
    return std <= max(LEAST_RELATIVE_STD * mean, LEAST_STD_IN_ROUNDING * rounding)
