"""Euclidean distances between all embeddings of a mini-batch."""

import torch
from torch import Tensor

SQUARED_DISTANCE_FLOOR = 1e-12
"""Squared distances are clamped here before the root (the authors' code, `pdist`)."""


def pairwise_distances(embeddings: Tensor, squared: bool = False, eps: float = SQUARED_DISTANCE_FLOOR) -> Tensor:
    """Return the Euclidean distance between each two embeddings, differentiably.

    Computed as |a|^2 + |b|^2 - 2ab, clamped at `eps` before the root; the diagonal is 0. No gradient flows
    through a clamped entry or through the diagonal, so duplicates are safe.
    Source: `pdist` of the authors' code (Kim & Park, AAAI 2021).

    Half-precision embeddings are converted to float32 first, and autocast has no say.

    Args:
        embeddings: (N, D), a floating-point type.
        squared: return squared distances, for which the root is left out.
        eps: floor of the squared distances off the diagonal.

    Returns:
        (N, N), in the units of `embeddings` (squared, if asked).

    Raises:
        ValueError: `embeddings` has not two dimensions.
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
    """Return float16 and bfloat16 embeddings as float32, differentiably; others are returned as they are.

    Distances between close embeddings are differences of nearly equal numbers.
    """
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def check_tensors(**given: object) -> None:
    """Raise a TypeError unless all are tensors; each is named by its keyword."""
    for name, value in given.items():
        if not isinstance(value, Tensor):
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise TypeError(f"{name} must be a torch.Tensor, got {kind}: torch.as_tensor({name}) makes one")


def check_embeddings(embeddings: Tensor, labels: Tensor | None = None) -> None:
    """Raise a ValueError unless `embeddings` is a floating-point (N, D) and `labels`, if given, (N,).

    A TypeError if they are no tensors, but arrays or lists.
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
