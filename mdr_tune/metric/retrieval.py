"""Recall@K, MAP@R and R-precision of a retrieval by Euclidean distance.

`score_queries` scores any slice of the queries and returns sums; sums of different slices (of different
ranks) add up, and `metrics_from_sums` turns them into percentages. `retrieval_metrics` is the two in one
call. How the gallery is ranked, and what becomes of equal distances, is in ranking.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdr_tune.metric.distance import check_embeddings, check_tensors
from mdr_tune.metric.ranking import can_be_ranked, nearest_items

DEFAULT_KS = (1, 2, 4, 8)


class EmbeddingsNotFinite(ValueError):  # noqa: N818 - says what is the matter
    """There are embeddings that no distance can be had of."""


def retrieval_metrics(
    embeddings: Tensor,
    labels: Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    block_size: int | None = None,
) -> dict[str, float]:
    """Return Recall@K for each K, MAP@R and R-precision, by Euclidean distance, in percent.

    Recall@K is the share of queries with an item of their class among the K nearest. R is the number of items
    of a query's class; R-precision is the share of them among the R nearest, and MAP@R the mean over the
    ranks i <= R of the precision at i where rank i is a hit, else 0. Queries with R = 0 count as misses in
    Recall@K and are left out of MAP@R and R-precision (as pytorch-metric-learning does), which are NaN if no
    query is left.
    Source: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020.

    Arguments and errors are those of `score_queries`, over all queries.

    Returns:
        `recall_at_{K}` for each K, `map_at_r` and `r_precision`.
    """
    sums = score_queries(embeddings, labels, ks, gallery=gallery, gallery_labels=gallery_labels, block_size=block_size)
    return metrics_from_sums(sums, ks)


@torch.no_grad()
def score_queries(
    embeddings: Tensor,
    labels: Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    rows: slice | None = None,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    block_size: int | None = None,
) -> Tensor:
    """Score the queries `rows` and return sums over them, which can be added to those of other rows.

    Items are ranked by the Euclidean distances of the embeddings as they are given, whatever TF32 or autocast is set
    to; at equal distances the first in the gallery comes first. The sums are the same on every processor.

    Args:
        embeddings: (N, D), the queries; without a gallery also what they are compared with.
        labels: (N,), their classes, integers.
        ks: the ranks K of Recall@K, each at least 1.
        rows: which queries to score, a slice of step 1; None is all of them.
        gallery: (G, D), what the queries are compared with. None: all of `embeddings`, each query without
            itself (by index, so that a duplicate of it counts).
        gallery_labels: (G,), with `gallery`.
        block_size: queries compared at a time; None chooses by the memory (on a CPU 64 MiB of float32 distances, and
            at most four times that in temporaries; on a GPU a share of what is free).

    Returns:
        (len(ks) + 4,), float64: hits at each K, sum of average precisions at R, sum of R-precisions, number
        of queries with R > 0, number of queries.

    Raises:
        EmbeddingsNotFinite: they are not, or are so large that their distances are not.
        ValueError: wrong shapes, or a K beyond the items that can be retrieved.
    """
    return _score(_problem(embeddings, labels, gallery, gallery_labels, ks), ks, rows, block_size)[0]


class QueryScores(NamedTuple):
    """What was found for each of n queries.

    Attributes:
        first_hit: (n,) int64, the rank of the nearest item of its class, from 1; 0 where there is none among the
            `max(*ks, R)` nearest, R being the largest of all queries, also of those that other ranks score.
        average_precision: (n,) float64, at R, 0 to 1; NaN where R is 0.
        r_precision: (n,) float64, as well.
        nearest: (n, k) int64, the nearest items of the gallery, the nearest first.
    """

    first_hit: Tensor
    average_precision: Tensor
    r_precision: Tensor
    nearest: Tensor


@torch.no_grad()
def examine_queries(
    embeddings: Tensor,
    labels: Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    rows: slice | None = None,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    block_size: int | None = None,
    neighbours: int = 8,
) -> tuple[Tensor, QueryScores]:
    """Score the queries `rows`; return the sums of `score_queries`, and the scores of each query.

    Arguments and errors are those of `score_queries`.

    Args:
        neighbours: how many of the nearest items are named, as far as so many were looked at.
    """
    problem = _problem(embeddings, labels, gallery, gallery_labels, ks)
    sums, columns = _score(problem, ks, rows, block_size, neighbours)
    return sums, QueryScores(*columns)


def _score(
    problem: "_Problem", ks: Sequence[int], rows: slice | None, block_size: int | None, neighbours: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return the sums, and, if `neighbours` are wanted, the columns of `QueryScores`."""
    start, stop, step = (rows or slice(None)).indices(len(problem.queries))
    if step != 1:
        raise ValueError(f"rows must be a slice of step 1, got {rows}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    stop = max(start, stop)
    relevant = _count_relevant(problem)
    max_relevant = int(relevant[start:stop].max()) if stop > start else 0
    depth = max(*ks, max_relevant)
    parts: list[QueryScores] = []
    if neighbours is not None:
        # All ranks look at as many items: their columns have to fit together, and 0 has to mean the same in each.
        depth = max([depth, *relevant.tolist()])
        none = relevant.new_empty(0)
        parts.append(QueryScores(none, none.double(), none.double(), none.view(0, min(neighbours, depth))))
    sums = torch.zeros(len(ks) + 4, dtype=torch.float64, device=problem.queries.device)
    # Sums ask at which ranks up to R, and before which ks, there are hits, the scores of each query for the items too.
    blocks = nearest_items(
        problem.queries,
        problem.gallery,
        depth,
        slice(start, stop),
        problem.excludes_self,
        block_size,
        cutoffs=[*range(1, max_relevant + 1), *ks] if neighbours is None else None,
        labels=(problem.labels, problem.gallery_labels) if neighbours is None else None,
    )
    for block, nearest in blocks:
        hits = problem.gallery_labels[nearest] == problem.labels[block, None]  # (B, depth)
        average_precision, r_precision = _precisions(hits, relevant[block], max_relevant)
        sums += _block_sums(hits, relevant[block], ks, average_precision, r_precision)
        if neighbours is not None:
            has_none = relevant[block] == 0
            first_hit = torch.where(hits.any(dim=1), hits.to(torch.uint8).argmax(dim=1) + 1, 0)
            ap, rp = (score.masked_fill(has_none, torch.nan) for score in (average_precision, r_precision))
            parts.append(QueryScores(first_hit, ap, rp, nearest[:, :neighbours]))
    return sums, [torch.cat(column) for column in zip(*parts, strict=True)]


def metrics_from_sums(sums: Tensor, ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
    """Turn the (added up) sums of `score_queries` with the same `ks` into percentages; 0 / 0 is NaN.

    Args:
        sums: (len(ks) + 4,).
        ks: the ranks K that the sums were made with.

    Returns:
        `recall_at_{K}` for each K, `map_at_r` and `r_precision`, in percent.

    Raises:
        ValueError: `sums` does not fit `ks`.
    """
    check_tensors(sums=sums)
    if sums.shape != (len(ks) + 4,):
        raise ValueError(f"sums for {len(ks)} ks must have shape ({len(ks) + 4},), got {tuple(sums.shape)}")
    *hits, average_precision, r_precision, with_relevant, queries = sums.tolist()
    metrics = {f"recall_at_{k}": _percent(hit, queries) for k, hit in zip(ks, hits, strict=True)}
    metrics["map_at_r"] = _percent(average_precision, with_relevant)
    metrics["r_precision"] = _percent(r_precision, with_relevant)
    return metrics


class _Problem(NamedTuple):
    queries: Tensor  # (N, D)
    labels: Tensor  # (N,)
    gallery: Tensor  # (G, D)
    gallery_labels: Tensor  # (G,)
    excludes_self: bool


def _problem(
    embeddings: Tensor, labels: Tensor, gallery: Tensor | None, gallery_labels: Tensor | None, ks: Sequence[int]
) -> _Problem:
    """Check the arguments of `score_queries`; return what is to be ranked, in full precision."""
    check_embeddings(embeddings, labels)
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("give gallery and gallery_labels together, or neither")
    excludes_self = gallery is None
    if gallery is None or gallery_labels is None:
        gallery, gallery_labels = embeddings, labels
    check_tensors(gallery=gallery, gallery_labels=gallery_labels)
    check_embeddings(gallery, gallery_labels)
    if gallery.shape[1] != embeddings.shape[1]:
        raise ValueError(f"queries are {embeddings.shape[1]}-dimensional, the gallery {gallery.shape[1]}")
    _check_ks(ks, len(gallery) - excludes_self)
    dtype = torch.promote_types(torch.promote_types(embeddings.dtype, gallery.dtype), torch.float32)
    queries, gallery = embeddings.to(dtype), gallery.to(dtype)
    if not (can_be_ranked(queries) and can_be_ranked(gallery)):
        raise EmbeddingsNotFinite(
            "embeddings are not finite, or too large, and cannot be ranked: the training has diverged"
        )
    return _Problem(queries, labels, gallery, gallery_labels, excludes_self)


def _check_ks(ks: Sequence[int], retrievable: int) -> None:
    if len(ks) == 0 or min(ks) < 1:
        raise ValueError(f"ks must be one or more ranks from 1 on, got {list(ks)}")
    if max(ks) > retrievable:
        raise ValueError(
            f"Recall@{max(ks)} needs {max(ks)} items to retrieve, but there are {retrievable}: "
            "use smaller ks or more images"
        )


def _count_relevant(problem: _Problem) -> Tensor:
    """Return R, how many items of its class each query can retrieve; (N,)."""
    classes, class_of_item = torch.unique(torch.cat([problem.gallery_labels, problem.labels]), return_inverse=True)
    items = len(problem.gallery_labels)
    counts = torch.bincount(class_of_item[:items], minlength=len(classes))
    return counts[class_of_item[items:]] - int(problem.excludes_self)


def _precisions(hits: Tensor, relevant: Tensor, max_relevant: int) -> tuple[Tensor, Tensor]:
    """Return average precision at R and R-precision of a block's queries, (B,) float64 each, 0 where R is 0.

    Args:
        hits: (B, depth).
        relevant: (B,), the R of each query, none above `max_relevant`.
    """
    ranks = torch.arange(1, max_relevant + 1, device=hits.device)
    hits_within_r = hits[:, :max_relevant] & (ranks <= relevant[:, None])
    precision = hits_within_r.cumsum(dim=1) / ranks.to(torch.float64)
    divisor = relevant.clamp(min=1)  # a query without relevant items has no hits
    average_precision = (precision * hits_within_r).sum(dim=1) / divisor
    return average_precision, hits_within_r.sum(dim=1) / divisor.to(torch.float64)


def _block_sums(
    hits: Tensor, relevant: Tensor, ks: Sequence[int], average_precision: Tensor, r_precision: Tensor
) -> Tensor:
    """Return the sums of a block, from its hits (B, depth), the R of its queries and their precisions, (B,) each."""
    return torch.stack(
        [hits[:, :k].any(dim=1).sum().to(torch.float64) for k in ks]
        + [average_precision.sum(), r_precision.sum()]
        + [(relevant > 0).sum().to(torch.float64), average_precision.new_tensor(len(hits))]
    )


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else float("nan")
