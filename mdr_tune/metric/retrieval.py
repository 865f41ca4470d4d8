"""Recall@K, MAP@R and R-precision of a retrieval by Euclidean distance.

`score_queries` scores any slice of the queries and returns sums. The sums of different slices, such as those of the
ranks, can be added up, and `metrics_from_sums` turns them into percentages. `retrieval_metrics` does both in one call.
ranking.py ranks the gallery, and says how items at equal distances are ordered.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdr_tune.metric.distance import check_embeddings, check_tensors
from mdr_tune.metric.ranking import can_be_ranked, nearest_items

DEFAULT_KS = (1, 2, 4, 8)


class EmbeddingsNotFinite(ValueError):  # noqa: N818 - says what is the matter
    """Embeddings are not finite, or so large that their distances are not finite."""


def retrieval_metrics(
    embeddings: Tensor,
    labels: Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    block_size: int | None = None,
) -> dict[str, float]:
    """Return `recall_at_{K}` for each K, `map_at_r` and `r_precision`, by Euclidean distance, in percent.

    Recall@K is the share of queries with an item of their class among the K nearest items. R is the number of items of
    a query's class that can be retrieved. A query's R-precision is the share of the R nearest items that are of its
    class. A rank is a hit if its item is of the query's class, and the precision at rank i is the share of hits among
    the first i ranks. A query's average precision at R is the sum of the precisions at its hits among the first R
    ranks, divided by R. MAP@R is its mean over the queries. Queries with R = 0 count as misses in Recall@K.
    They are left out of MAP@R and R-precision, as in pytorch-metric-learning; both are NaN if no query is left.
    Source: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020.

    All queries are scored. The arguments, `embeddings`, `labels`, `ks`, `gallery`, `gallery_labels` and `block_size`,
    and the errors are those of `score_queries`.
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
    """Score the queries `rows` and return sums over them, which can be added to the sums of other rows.

    Items are ranked by Euclidean distance, without any normalisation of the embeddings; settings of TF32 and autocast
    have no effect. Of items at equal distances, the first in the gallery comes first. The sums are the same on every
    processor.

    Args:
        embeddings: (N, D), the queries, and without `gallery` also the items.
        labels: (N,), classes of the queries, integers.
        ks: the ranks K of Recall@K, each at least 1.
        rows: slice of the queries to score, of step 1; None is all queries.
        gallery: (G, D), the items. None: the items are all of `embeddings`, and a query does not find itself. It may
            find an equal embedding that has another index.
        gallery_labels: (G,), classes of the items, given together with `gallery`.
        block_size: number of queries that are compared at a time. None chooses a number that fits into memory: on a CPU
            the distances then take 64 MiB in float32, and temporaries at most four times that; on a GPU all of them
            take a share of the free memory.

    Returns:
        (len(ks) + 4,), float64: for each K the number of queries with an item of their class among the K nearest; then
        the sum of average precisions at R, the sum of R-precisions, the number of queries with R > 0, and the number of
        queries. `retrieval_metrics` defines R and the precisions.

    Raises:
        EmbeddingsNotFinite: embeddings are not finite, or so large that their distances are not finite.
        ValueError: a shape is wrong, a K is below 1 or above the number of items to retrieve, the step of `rows` is not
            1, or `block_size` is below 1.
    """
    return _score(_problem(embeddings, labels, gallery, gallery_labels, ks), ks, rows, block_size)[0]


class QueryScores(NamedTuple):
    """Scores and nearest items of each of n queries. R of a query is the number of items of its class to be found.

    Attributes:
        first_hit: (n,) int64, place of the nearest item of the query's class, from 1; 0 if it is none of the nearest m.
            m is the largest K of Recall@K, or the largest R of the queries of all DDP ranks if that is larger.
        average_precision: (n,) float64, average precision at R, from 0 to 1; NaN where R is 0.
        r_precision: (n,) float64, R-precision, from 0 to 1; NaN where R is 0.
        nearest: (n, k) int64, the k nearest items of the gallery, nearest first.
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
    """Score the queries `rows`; return the sums of `score_queries`, and the scores and `neighbours` of each query.

    `neighbours` is the number of nearest items to return; fewer are returned if the scores need fewer. The other
    arguments, `embeddings`, `labels`, `ks`, `rows`, `gallery`, `gallery_labels` and `block_size`, and the errors are
    those of `score_queries`.
    """
    problem = _problem(embeddings, labels, gallery, gallery_labels, ks)
    sums, columns = _score(problem, ks, rows, block_size, neighbours)
    return sums, QueryScores(*columns)


def _score(
    problem: "_Problem", ks: Sequence[int], rows: slice | None, block_size: int | None, neighbours: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return the sums of `score_queries`, and a list of the fields of `QueryScores`, empty if `neighbours` is None.

    `ks`, `rows` and `block_size` are those of `score_queries`, whose other arguments are in `problem`.
    """
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
        # All ranks look at the same number of items: columns have one width, and a first hit of 0 has one meaning.
        depth = max([depth, *relevant.tolist()])
        none = relevant.new_empty(0)
        parts.append(QueryScores(none, none.double(), none.double(), none.view(0, min(neighbours, depth))))
    sums = torch.zeros(len(ks) + 4, dtype=torch.float64, device=problem.queries.device)
    # The sums need only the ranks of hits up to R, and whether there are hits up to each K. The scores of each query
    # need the items too.
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
    """Return the metrics in percent from `sums` (len(ks) + 4,) of `score_queries`, computed with the ranks `ks`.

    The sums of several slices of the queries may be added up before. The metrics are `recall_at_{K}` for each K,
    `map_at_r` and `r_precision`. A metric is NaN if there are no queries to compute it from.

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
    """Check the arguments of `score_queries`; return them as queries and gallery with float32 or float64 embeddings."""
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
    """Return R of each query of `problem`, (N,): the number of items of its class that it can retrieve."""
    classes, class_of_item = torch.unique(torch.cat([problem.gallery_labels, problem.labels]), return_inverse=True)
    items = len(problem.gallery_labels)
    counts = torch.bincount(class_of_item[:items], minlength=len(classes))
    return counts[class_of_item[items:]] - int(problem.excludes_self)


def _precisions(hits: Tensor, relevant: Tensor, max_relevant: int) -> tuple[Tensor, Tensor]:
    """Return average precision at R and R-precision of a block's queries, (B,) float64 each, 0 where R is 0.

    Args:
        hits: (B, depth) bool, whether the item at each rank is of the query's class.
        relevant: (B,), R of each query, as `_count_relevant` returns it.
        max_relevant: upper bound of `relevant`, at most `depth`.
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
    """Return the sums of `score_queries` with `ks` for a block of queries.

    `hits` and `relevant` are the arguments of `_precisions`; `average_precision` and `r_precision` are its results.
    """
    return torch.stack(
        [hits[:, :k].any(dim=1).sum().to(torch.float64) for k in ks]
        + [average_precision.sum(), r_precision.sum()]
        + [(relevant > 0).sum().to(torch.float64), average_precision.new_tensor(len(hits))]
    )


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else float("nan")
