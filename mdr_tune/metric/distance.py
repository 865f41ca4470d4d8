"""Compute the Euclidean distances between all embeddings of a mini-batch."""

import torch
from torch import Tensor

SQUARED_DISTANCE_FLOOR = 1e-12
"""Smallest squared distance; it replaces smaller ones before the root is taken, as in the authors' `pdist`."""


def pairwise_distances(embeddings: Tensor, squared: bool = False, eps: float = SQUARED_DISTANCE_FLOOR) -> Tensor:
    """Return the Euclidean distances (N, N) between all pairs of embeddings, in their units, differentiably.

    A squared distance is computed as |a|^2 + |b|^2 - 2ab. The diagonal is 0. No gradient flows through the diagonal or
    through an entry that is replaced by `eps`, so that the gradient stays finite for duplicates. Half-precision
    embeddings are converted to float32 first, and autocast is switched off.
    Source: `pdist` of the authors' code (Kim & Park, AAAI 2021).

    Args:
        embeddings: (N, D), of a floating-point type.
        squared: whether to return squared distances, in squared units.
        eps: smallest squared distance off the diagonal; smaller values are replaced by it.

    Raises:
        TypeError: `embeddings` is not a tensor.
        ValueError: `embeddings` does not have two dimensions, or is not of a floating-point type.
    """
    check_embeddings(embeddings)
    embeddings = full_precision(embeddings)
    squared_norms = embeddings.pow(2).sum(dim=1)  # (N,)
    with torch.autocast(embeddings.device.type, enabled=False):
        products = embeddings @ embeddings.t()  # (N, N)
    distances = (squared_norms[:, None] + squared_norms[None, :] - 2 * products).clamp(min=eps)
    if not squared:
        distances = distances.sqrt()
    diagonal = torch.eye(len(embeddings), dtype=torch.bool, device=embeddings.device)
    return distances.masked_fill(diagonal, 0.0)


def full_precision(embeddings: Tensor) -> Tensor:
    """Convert float16 and bfloat16 `embeddings` to float32, differentiably. Other dtypes are returned unchanged.

    Half precision is too coarse for the distance of close embeddings, a difference of nearly equal numbers.
    """
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def check_tensors(**given: object) -> None:
    """Raise a TypeError unless all arguments `given` by name are tensors. The message names the first that is not."""
    for name, value in given.items():
        if not isinstance(value, Tensor):
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise TypeError(f"{name} must be a torch.Tensor, got {kind}: torch.as_tensor({name}) makes one")


def check_embeddings(embeddings: Tensor, labels: Tensor | None = None) -> None:
    """Check that `embeddings` is a floating-point tensor (N, D), and `labels`, if given, a tensor (N,).

    Raises:
        TypeError: `embeddings` or `labels` is not a tensor, but for example a NumPy array.
        ValueError: the shape or the dtype is wrong.
    """
    check_tensors(embeddings=embeddings)
    if labels is not None:
        check_tensors(labels=labels)
    if embeddings.dim() != 2 or not embeddings.is_floating_point():
        raise ValueError(
            "embeddings must be a floating-point tensor of shape (N, D), got "
            f"{embeddings.dtype} of shape {tuple(embeddings.shape)}"
        )
    if labels is not None and labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(embeddings)},), one for each embedding, got {tuple(labels.shape)}"
        )
