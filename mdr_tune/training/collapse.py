"""Detect a collapse: the distances within a batch differ by too little to rank images by them.

Training with any loss can end in a collapse. For example, a margin that no triplet keeps moves all embeddings to one
point or, on a sphere, to points that are all equally far from each other. The standard deviation of the distances,
which MDR divides by, is then zero.
"""

import torch

from mdr_tune.metric import EmbeddingMode, apply_test_mode

LEAST_RELATIVE_STD = 1e-3
"""Ratio of the distances' standard deviation to their mean at or below which all distances count as equal.

Embeddings with independent normal coordinates have a ratio of 1 / sqrt(2 D): 0.03 for D = 512, 0.016 for 2048, and
0.001 for half a million. Networks that were never trained have a ratio of 0.03 (2,048 dimensions, normalised) to 0.5,
since their embeddings fill few dimensions.
"""
LEAST_STD_IN_ROUNDING = 1 / 8
"""Standard deviation of the distances at or below which all distances count as equal, in units of the rounding.

The rounding is the embeddings' norm times the epsilon of the trial's precision. The bound is thus 1.5e-8 of the norm
for fp32, 1e-4 for fp16 and 1e-3 for bf16. If embeddings differ only by rounding, the mean distance is about the
rounding, and the standard deviation is smaller by a factor of sqrt(2 D). Networks that were never trained have a
standard deviation of at least 0.02 times the norm.
"""


@torch.no_grad()
def distance_moments(embeddings: torch.Tensor, mode: EmbeddingMode) -> tuple[float, float, float]:
    """Return mean and standard deviation of the distances between a batch's `embeddings`, and the embeddings' norm.

    The deviation is that of a population, over all pairs of different images; the norm is the root mean square of all
    norms. With the `mode` `l2`, embeddings are normalised first, as in retrieval. The distances are computed in
    float64, from centred embeddings; otherwise, the rounding of |a|^2 + |b|^2 - 2ab would dominate them.

    `embeddings` are (N, D), raw, of the global batch; N is at least 3. All results are in the units of the embeddings.
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
    """Return whether a batch has collapsed: its distances differ by too little to rank images by them.

    `mean` and `std` are those of the distances, and `norm` is the embeddings' norm, as `distance_moments` returns them.
    `precision` is the dtype that the network computes in.
    """
    rounding = torch.finfo(precision).eps * norm
    return std <= max(LEAST_RELATIVE_STD * mean, LEAST_STD_IN_ROUNDING * rounding)
