"""Transform embeddings: in training before the loss is computed, in evaluation before retrieval."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from mdr_tune.metric.distance import check_embeddings, full_precision, pairwise_distances

EmbeddingMode = Literal["rescale", "l2", "none"]


def apply_embedding_mode(embeddings: Tensor, mode: EmbeddingMode) -> Tensor:
    """Transform the embeddings (N, D) of a training batch, gathered from all ranks, for the losses.

    Half-precision embeddings, such as `torch.autocast` produces, are converted to float32.

    Args:
        embeddings: (N, D), the whole batch; N is at least 2 for `rescale`.
        mode: `rescale` divides all embeddings by the mean distance between two of them, which then is 1; the gradient
            flows through that mean, too ("learning without L2 norm" of Kim & Park, AAAI 2021, section 3.1). `l2` puts
            each embedding on the unit sphere. `none` leaves embeddings unchanged.

    Raises:
        ValueError: the mode is unknown, or there are fewer than two embeddings to rescale.
    """
    _check(embeddings, mode)
    embeddings = full_precision(embeddings)
    if mode == "rescale":
        return embeddings / _mean_distance(embeddings)
    return apply_test_mode(embeddings, mode)


@torch.no_grad()
def apply_batch_mode(others: Tensor, embeddings: Tensor, mode: EmbeddingMode) -> Tensor:
    """Transform `others` (M, D) as `apply_embedding_mode` transforms the batch `embeddings` (N, D), without gradient.

    With the mode `rescale`, `others` are divided by the mean distance between two embeddings of the batch.
    """
    others = full_precision(others)
    return others / _mean_distance(full_precision(embeddings)) if mode == "rescale" else apply_test_mode(others, mode)


def _mean_distance(embeddings: Tensor) -> Tensor:
    count = len(embeddings)
    if count < 2:
        raise ValueError(f"rescale needs 2 or more embeddings in a batch, got {count}: use a larger batch")
    return pairwise_distances(embeddings).sum() / (count * (count - 1))


def apply_test_mode(embeddings: Tensor, mode: EmbeddingMode) -> Tensor:
    """Transform `embeddings` (N, D) for retrieval: `l2` puts them on the unit sphere, other modes change nothing.

    `mode` is the mode that the model was trained with. `rescale` changes nothing here, as in the authors' code, since a
    single image has no batch whose mean distance could be used.

    Raises:
        ValueError: the mode is unknown.
    """
    _check(embeddings, mode)
    return functional.normalize(embeddings, p=2, dim=1) if mode == "l2" else embeddings


def _check(embeddings: Tensor, mode: str) -> None:
    if mode not in get_args(EmbeddingMode):
        raise ValueError(f"unknown embedding mode {mode!r}. Known: {', '.join(get_args(EmbeddingMode))}.")
    check_embeddings(embeddings)
