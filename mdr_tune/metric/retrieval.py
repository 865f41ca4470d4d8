"""Recall@K, MAP@R and R-precision of a retrieval by Euclidean distance; on request MAP@K, precision@K and MRR.

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

_DEEPER = 8
"""Factor by which the search for a first hit goes on to more items, as long as there is none among those looked at."""


class EmbeddingsNotFinite(ValueError):  # noqa: N818 - says what is the matter
    """Embeddings are not finite, or so large that their distances are not finite."""


def retrieval_metrics(
    embeddings: Tensor,
    labels: Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    block_size: int | None = None,
    further: Sequence[str] = (),
) -> dict[str, float]:
    """Return `recall_at_{K}` for each K, `map_at_r`, `r_precision` and `further`, by Euclidean distance, in percent.

    Recall@K is the share of queries with an item of their class among the K nearest items. R is the number of items of
    a query's class that can be retrieved. A query's R-precision is the share of the R nearest items that are of its
    class. A rank is a hit if its item is of the query's class, and the precision at rank i is the share of hits among
    the first i ranks. A query's average precision at R is the sum of the precisions at its hits among the first R
    ranks, divided by R. MAP@R is its mean over the queries. Queries with R = 0 count as misses in Recall@K.
    They are left out of MAP@R and R-precision, as in pytorch-metric-learning; both are NaN if no query is left.
    Source: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020.

    `further` names metrics that are computed on request:

    - `map_at_{K}`: the mean of the average precision at K, which is the sum of the precisions at the hits among the
      first K ranks, divided by min(K, R). Queries with R = 0 are left out. It is the mAP@100 of Google Landmarks
      (Weyand et al., CVPR 2020). Work on hashing, and pytorch-metric-learning's `mean_average_precision`, divide by the
      number of hits among the first K instead. The two are equal if K is the number of all items.
    - `precision_at_{K}`: the share of hits among the first K ranks. It is 0 for a query with R = 0.
    - `mrr`: the mean of 1 / rank of the first hit, in the ranking of the whole gallery. It is 0 for a query with R = 0.

    All queries are scored. The arguments, `embeddings`, `labels`, `ks`, `gallery`, `gallery_labels`, `block_size` and
    `further`, and the errors are those of `score_queries`.
    """
    sums = score_queries(
        embeddings,
        labels,
        ks,
        gallery=gallery,
        gallery_labels=gallery_labels,
        block_size=block_size,
        further=further,
    )
    return metrics_from_sums(sums, ks, further)


@torch.no_grad()
def score_queries(
    embeddings: Tensor,
    labels: Tensor,
    ks: Sequence[int] = DEFAULT_KS,
    rows: slice | None = None,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    block_size: int | None = None,
    further: Sequence[str] = (),
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
        further: names of further metrics, see `retrieval_metrics`.

    Returns:
        (len(ks) + 4 + len(further),), float64: for each K the number of queries with an item of their class among the K
        nearest; then the sum of average precisions at R, the sum of R-precisions, the number of queries with R > 0, and
        the number of queries; then the sum of each further metric. `retrieval_metrics` defines R and the precisions.

    Raises:
        EmbeddingsNotFinite: embeddings are not finite, or so large that their distances are not finite.
        ValueError: a shape is wrong, a K is below 1 or above the number of items to retrieve, the step of `rows` is not
            1, `block_size` is below 1, or a name in `further` is not known.
    """
    wanted = _further(further)
    problem = _problem(embeddings, labels, gallery, gallery_labels, [*ks, *wanted.ks])
    return _score(problem, ks, rows, block_size, wanted)[0]


class QueryScores(NamedTuple):
    """Scores and nearest items of each of n queries. R of a query is the number of items of its class to be found.

    Attributes:
        first_hit: (n,) int64, place of the nearest item of the query's class, from 1; 0 if it is none of the nearest m.
            m is the largest K of Recall@K, or the largest R of the queries of all DDP ranks if that is larger.
        average_precision: (n,) float64, average precision at R, from 0 to 1; NaN where R is 0.
        r_precision: (n,) float64, R-precision, from 0 to 1; NaN where R is 0.
        further: (n, f) float64, the f further metrics of `retrieval_metrics`, from 0 to 1; NaN where R is 0 and such
            queries are left out.
        nearest: (n, k) int64, the k nearest items of the gallery, nearest first.
    """

    first_hit: Tensor
    average_precision: Tensor
    r_precision: Tensor
    further: Tensor
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
    further: Sequence[str] = (),
) -> tuple[Tensor, QueryScores]:
    """Score the queries `rows`; return the sums of `score_queries`, and the scores and `neighbours` of each query.

    `neighbours` is the number of nearest items to return; fewer are returned if the scores need fewer. The other
    arguments, `embeddings`, `labels`, `ks`, `rows`, `gallery`, `gallery_labels`, `block_size` and `further`, and the
    errors are those of `score_queries`.
    """
    wanted = _further(further)
    problem = _problem(embeddings, labels, gallery, gallery_labels, [*ks, *wanted.ks])
    sums, columns = _score(problem, ks, rows, block_size, wanted, neighbours)
    return sums, QueryScores(*columns)


class _Further(NamedTuple):
    """The further metrics of `retrieval_metrics`: (kind, K) of each, in which the K of `mrr` is 0."""

    parts: list[tuple[str, int]]

    @property
    def ks(self) -> list[int]:
        return [k for kind, k in self.parts if kind != "mrr"]

    @property
    def has_mrr(self) -> bool:
        return ("mrr", 0) in self.parts


def _further(names: Sequence[str]) -> _Further:
    parts = []
    for name in names:
        kind, _, rank = name.partition("_at_")
        if name != "mrr" and not (kind in ("map", "precision") and rank.isdecimal()):
            raise ValueError(f"unknown metric {name!r}; there are map_at_K, precision_at_K and mrr")
        parts.append((kind, int(rank or 0)))
    return _Further(parts)


def _score(
    problem: "_Problem",
    ks: Sequence[int],
    rows: slice | None,
    block_size: int | None,
    further: _Further,
    neighbours: int | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Return the sums of `score_queries`, and a list of the fields of `QueryScores`, empty if `neighbours` is None.

    `ks`, `rows`, `block_size` and `further` are those of `score_queries`, whose other arguments are in `problem`.
    """
    start, stop, step = (rows or slice(None)).indices(len(problem.queries))
    if step != 1:
        raise ValueError(f"rows must be a slice of step 1, got {rows}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    stop = max(start, stop)
    relevant = _count_relevant(problem)
    max_relevant = int(relevant[start:stop].max()) if stop > start else 0
    depth = max(*ks, *further.ks, max_relevant)
    parts: list[QueryScores] = []
    if neighbours is not None:
        # All ranks look at the same number of items: columns have one width, and a first hit of 0 has one meaning.
        depth = max([depth, *relevant.tolist()])
        none = relevant.new_empty(0)
        no_further = none.double().view(0, len(further.parts))
        parts.append(QueryScores(none, none.double(), none.double(), no_further, none.view(0, min(neighbours, depth))))
    sums = torch.zeros(len(ks) + 4 + len(further.parts), dtype=torch.float64, device=problem.queries.device)
    # The sums need only the ranks of hits up to R, and whether there are hits up to each K. The scores of each query
    # and the further metrics need the order of all that are looked at.
    needs_order = neighbours is not None or bool(further.parts)
    blocks = nearest_items(
        problem.queries,
        problem.gallery,
        depth,
        slice(start, stop),
        problem.excludes_self,
        block_size,
        cutoffs=None if needs_order else [*range(1, max_relevant + 1), *ks],
        labels=(problem.labels, problem.gallery_labels) if neighbours is None else None,
    )
    for block, nearest in blocks:
        hits = problem.gallery_labels[nearest] == problem.labels[block, None]  # (B, depth)
        average_precision, r_precision = _precisions(hits, relevant[block], max_relevant)
        scores = _further_scores(problem, further, block, hits, relevant[block], block_size)  # (B, f)
        of_block = _block_sums(hits, relevant[block], ks, average_precision, r_precision)
        sums += torch.cat([of_block, scores.nan_to_num(0.0).sum(dim=0)]) if further.parts else of_block
        if neighbours is not None:
            has_none = relevant[block] == 0
            ap, rp = (score.masked_fill(has_none, torch.nan) for score in (average_precision, r_precision))
            parts.append(QueryScores(_first_hit(hits), ap, rp, scores, nearest[:, :neighbours]))
    return sums, [torch.cat(column) for column in zip(*parts, strict=True)]


def _first_hit(hits: Tensor) -> Tensor:
    """Return the rank of the first of `hits` (B, depth), from 1; 0 if there is none."""
    return torch.where(hits.any(dim=1), hits.to(torch.uint8).argmax(dim=1) + 1, 0)


def _further_scores(
    problem: "_Problem", further: _Further, block: slice, hits: Tensor, relevant: Tensor, block_size: int | None
) -> Tensor:
    """Return the `further` metrics of a block's queries, (B, f) float64 from 0 to 1, see `QueryScores`.

    `hits` (B, depth) and `relevant` (B,) are the arguments of `_precisions`, and the others those of `_score`.
    """
    columns = [hits.new_empty(len(hits), 0, dtype=torch.float64)]
    for kind, k in further.parts:
        if kind == "mrr":
            first_hit = _first_hit(hits)
            missed = ((first_hit == 0) & (relevant > 0)).nonzero().squeeze(1)
            if len(missed):
                first_hit[missed] = _first_hit_below(problem, missed + block.start, hits.shape[1], block_size)
            score = torch.where(first_hit > 0, 1 / first_hit.double(), 0.0)
        else:
            ranks = torch.arange(1, k + 1, device=hits.device)
            of_k = hits[:, :k]
            if kind == "map":
                precisions = of_k.cumsum(dim=1) / ranks.to(torch.float64)
                score = (precisions * of_k).sum(dim=1) / relevant.clamp(max=k)  # 0 / 0 is NaN
            else:
                score = of_k.sum(dim=1) / torch.tensor(k, dtype=torch.float64, device=hits.device)
        columns.append(score[:, None])
    return torch.cat(columns, dim=1)


def _first_hit_below(problem: "_Problem", rows: Tensor, depth: int, block_size: int | None) -> Tensor:
    """Return the rank of the first hit of the queries `rows` (n,), none of whose `depth` nearest items is a hit."""
    found = torch.zeros_like(rows)
    left, items = torch.arange(len(rows), device=rows.device), len(problem.gallery) - problem.excludes_self
    while len(left):
        depth = min(depth * _DEEPER, items)
        labels = problem.labels, problem.gallery_labels
        ranked = nearest_items(
            problem.queries,
            problem.gallery,
            depth,
            rows[left],
            problem.excludes_self,
            block_size,
            labels=labels,
        )
        hits = [_first_hit(problem.gallery_labels[nearest] == problem.labels[block, None]) for block, nearest in ranked]
        found[left] = torch.cat(hits)
        left = left[found[left] == 0]
    return found


def metrics_from_sums(sums: Tensor, ks: Sequence[int] = DEFAULT_KS, further: Sequence[str] = ()) -> dict[str, float]:
    """Return the metrics in percent from `sums` of `score_queries`, computed with the ranks `ks` and with `further`.

    The sums of several slices of the queries may be added up before. The metrics are `recall_at_{K}` for each K,
    `map_at_r`, `r_precision` and those in `further`. A metric is NaN if there are no queries to compute it from.

    Raises:
        ValueError: `sums` does not fit `ks` and `further`.
    """
    check_tensors(sums=sums)
    size = len(ks) + 4 + len(further)
    if sums.shape != (size,):
        raise ValueError(f"sums for {len(ks)} ks must have shape ({size},), got {tuple(sums.shape)}")
    *hits, average_precision, r_precision, with_relevant, queries = sums[: len(ks) + 4].tolist()
    metrics = {f"recall_at_{k}": _percent(hit, queries) for k, hit in zip(ks, hits, strict=True)}
    metrics["map_at_r"] = _percent(average_precision, with_relevant)
    metrics["r_precision"] = _percent(r_precision, with_relevant)
    for name, total in zip(further, sums[len(ks) + 4 :].tolist(), strict=True):
        metrics[name] = _percent(total, with_relevant if name.startswith("map_at_") else queries)
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
