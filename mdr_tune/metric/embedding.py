"""Transform embeddings before the losses in training, and before retrieval."""

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional

from mdr_tune.metric.distance import check_embeddings, full_precision, pairwise_distances

EmbeddingMode = Literal["rescale", "l2", "none"]


def apply_embedding_mode(embeddings: Tensor, mode: EmbeddingMode) -> Tensor:
    """Transform the embeddings of a training batch for the losses.

    The batch must be the whole one, gathered from all ranks. Half-precision embeddings, such as `torch.autocast`
    returns, become float32, in which losses are computed.

    Args:
        embeddings: (N, D); N is at least 2 for `rescale`.
        mode: `rescale` divides by the batch's mean distance between two different embeddings, with gradient through
            that mean (the "learning without L2 norm" of Kim & Park, AAAI 2021, section 3.1). `l2` puts each embedding
            on the unit sphere. `none` leaves embeddings unchanged.

    Returns:
        (N, D); for `rescale` in units of the mean distance.

    Raises:
        ValueError: the mode is unknown, or a batch of one is to be rescaled.
    """
    _check(embeddings, mode)
    embeddings = full_precision(embeddings)
    if mode == "rescale":
        count = len(embeddings)
        if count < 2:
            raise ValueError(f"rescale needs 2 or more embeddings in a batch, got {count}: use a larger batch")
        return embeddings / (pairwise_distances(embeddings).sum() / (count * (count - 1)))
    return apply_test_mode(embeddings, mode)


def apply_test_mode(embeddings: Tensor, mode: EmbeddingMode) -> Tensor:
    """Transform embeddings for retrieval: `l2` puts them on the unit sphere, other modes leave them raw.

    The mean distance of a batch has no meaning for single images. Embeddings of a model that was trained with `rescale`
    are therefore compared raw, as in the authors' code.

    Args:
        embeddings: (N, D).
        mode: the mode that the model was trained with.

    Returns:
        (N, D).

    Raises:
        ValueError: the mode is unknown.
    """
    _check(embeddings, mode)
    return functional.normalize(embeddings, p=2, dim=1) if mode == "l2" else embeddings


def _check(embeddings: Tensor, mode: str) -> None:
    if mode not in get_args(EmbeddingMode):
        raise ValueError(f"unknown embedding mode {mode!r}. Known: {', '.join(get_args(EmbeddingMode))}.")
    check_embeddings(embeddings)
