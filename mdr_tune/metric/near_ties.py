"""Order items whose distances are so close that the rounding of a matrix product hides which is nearer.

A matrix product may round the same sum differently at different positions of its result, and each processor rounds in
its own way. The rounding is bounded, though. If the distances of two items differ by more than the bound, the product
is enough to order the items. Otherwise their distances are computed from the differences of the embeddings, in float64,
added up in a fixed order. These are elementwise operations, which give the same bits on every processor, but are slow.
Many items of a query may be so close: in tight clusters, or if the query is far from all items. Then products of parts
of the embeddings are tried first, since they have almost no rounding.

A place is a position in the ranking of a query, from 0. An open place is one whose item may belong elsewhere, on the
other side of a cutoff (see `Asked`). In shapes, B is the number of queries, G the number of gallery items and D the
length of an embedding. In formulas, q is the embedding of a query, and g that of an item.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_NUMBERS_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}
"""Number of differences of coordinates in memory at once, by type of device.

On a CPU they take 2 MiB as float64, which fits into the cache of a core.
"""
_PLACES_AT_ONCE = 2**20
"""Number of places, counted over all queries, whose items are put in order at once."""
_PARTS_AT_ONCE = {"cpu": 2**21, "cuda": 2**24}
"""Number of a gallery's coordinates that are split into parts at once, by type of device.

About five float64 copies of them exist at that time.
"""
_ITEMS_PER_DIFFERENCE = 16
"""Number of distances that products of parts compute in the time of one distance by differences."""


def squared_distances(queries: Tensor, items: Tensor) -> Tensor:
    """Return |q - g|^2 of pairs of a query and an item, (P,) float64, with the same bits on every processor.

    `queries` and `items` hold the two embeddings of each pair, (P, D). The values are exact if all coordinates are
    whole multiples of one power of two, and at most about 2^22 times that power.
    """
    terms = (queries.double() - items.double()).square_()
    while (width := terms.shape[1]) > 1:
        half = width // 2
        terms[:, :half] += terms[:, width - half :]
        terms = terms[:, : width - half]
    return terms.squeeze(1)


def distances_of_pairs(queries: Tensor, gallery: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """Return the squared distances (P,) between `queries[rows]` and `gallery[items]`, in blocks to limit memory."""
    at_once = max(1, _NUMBERS_AT_ONCE[gallery.device.type] // gallery.shape[1])
    pairs = zip(rows.split(at_once), items.split(at_once), strict=True)
    # index_select is ten times as fast as indexing.
    return torch.cat([squared_distances(queries.index_select(0, q), gallery.index_select(0, g)) for q, g in pairs])


class Rounding(NamedTuple):
    """Bound of the rounding error of computed distances: a value v may be wrong by up to `absolute + relative * v`.

    `absolute` is (B, 1), one number for each query; `relative` is less than 1.
    """

    absolute: Tensor
    relative: float

    def of(self, rows: Tensor) -> "Rounding":
        """Return the bound for the queries `rows`."""
        return Rounding(self.absolute[rows], self.relative)

    def least(self, values: Tensor) -> Tensor:
        """Return thresholds (B, C) for `values`, which are computed distances (B, C).

        If the computed distance of an item is below the threshold of a value, then the item is surely nearer than any
        item whose computed distance is the value.
        """
        return (values * (1 - self.relative) - 2 * self.absolute) / (1 + self.relative)

    def most(self, values: Tensor) -> Tensor:
        """Return thresholds (B, C) for `values`, which are computed distances (B, C).

        If the computed distance of an item is above the threshold of a value, then the item is surely farther than any
        item whose computed distance is the value.
        """
        return (values * (1 + self.relative) + 2 * self.absolute) / (1 - self.relative)


def product_rounding(query_norms: Tensor, dimensions: int) -> Rounding:
    """Return a bound of the rounding error of |g|^2 - 2 q.g that holds for any kernel of the matrix product.

    A sum of D products is wrong by at most D u times the sum of their magnitudes, in any order of adding, where u is
    half the distance from 1 to the next larger float. The magnitudes add up to at most |g|^2 + 2 |q||g| (by the
    inequality of Cauchy and Schwarz), which is less than (|q| + |g|)^2 <= (2 |q| + |q - g|)^2 <= 8 |q|^2 + 2 |q - g|^2
    = 10 |q|^2 + 2 (|g|^2 - 2 q.g). The bound of an item thus depends on its own distance: an item that is far away does
    not make near ones less certain. `query_norms` (B,) are the |q| after centring, `dimensions` is D.
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1.
    """
    relative = product_error(dimensions, query_norms.dtype)
    underflow = 4 * dimensions * torch.finfo(query_norms.dtype).tiny  # smaller numbers may count as 0
    of_value = relative / (1 - 2 * relative)  # the bound is applied to the rounded value
    return Rounding((10 * of_value * query_norms.square() + 2 * underflow)[:, None], 2 * of_value)


def product_error(dimensions: int, dtype: torch.dtype) -> float:
    """Return the largest rounding error of a sum of `dimensions` products, as a share of the sum of their magnitudes.

    It includes 24 u of the float type `dtype` (see `product_rounding`) for the rounding in other operations: centring q
    and g, adding |g|^2, `squared_distances`, and the arithmetic of `Rounding`.
    """
    sum_of_products = (dimensions + 24) * torch.finfo(dtype).eps / 2
    return min(sum_of_products / (1 - sum_of_products), 1 / 4)  # from 2^21 dimensions on, float32 decides nothing


def exact_step(reach: Tensor) -> Tensor:
    """Return a power of two, the step: distances do not round if all coordinates are whole multiples of the step.

    A distance is here the sum |q|^2 + |g|^2 - 2 q.g, added up in any order. In float32 it is less than 2^24 times the
    square of the step, and so fits into the mantissa. `reach` is the largest |q| + |g|, a scalar, of the dtype of the
    sums.
    """
    largest_whole_number = 2 / torch.finfo(reach.dtype).eps
    _, exponent = torch.frexp(reach / largest_whole_number**0.5)
    return torch.ldexp(torch.ones_like(reach), exponent)


def products_are_exact(embeddings: Tensor, centre: Tensor, reach: Tensor) -> bool:
    """Return whether all sums |g|^2 - 2 q.g are computed without rounding.

    That is so if all coordinates are whole multiples of `exact_step`: those of `embeddings` (N, D), queries or gallery,
    and of `centre` (D,), which is subtracted from them. `reach` is the largest |q| + |g| afterwards, a scalar.
    """
    step = exact_step(reach)
    if step.square() < torch.finfo(step.dtype).tiny:  # squares of small numbers would count as 0
        return False
    # The first row comes first, since it nearly always gives away embeddings that are not such multiples.
    return all(bool((numbers.remainder(step) == 0).all()) for numbers in (embeddings[0], centre, embeddings))


class Asked(NamedTuple):
    """The part of a query's ranking that must be right. The rest may be wrong where rounding hides the order.

    Attributes:
        cutoffs: (C,) int64, ranks of at least 1, ascending, on the CPU. For each cutoff k, the first k items must be
            the k nearest. The items between two neighbouring cutoffs may be in a wrong order.
        labels: classes of the queries, (B,), and of the gallery, (G,), int64. If they are given, the order need only be
            right between an item of the query's class and an item of another class. None if the classes do not matter.
    """

    cutoffs: Tensor
    labels: tuple[Tensor, Tensor] | None = None

    @property
    def depth(self) -> int:
        """Number of items to find for each query, which is the last cutoff."""
        return int(self.cutoffs[-1])

    def of(self, rows: Tensor | slice) -> "Asked":
        """Return an `Asked` with the same cutoffs for the queries `rows` alone."""
        return self if self.labels is None else Asked(self.cutoffs, (self.labels[0][rows], self.labels[1]))


def nearest_in_order(
    distances: Tensor, rounding: Rounding, asked: Asked, queries: Tensor, gallery: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the nearest items of each query. Of equally near items, the first in the gallery counts as the nearer.

    Args:
        distances: (B, G), |q - g|^2 minus any number that is the same for all items of a query. The values are correct
            within `rounding`. Infinity marks an item that must not be found.
        rounding: bound of the rounding error of `distances`.
        asked: number of items to find, and the part of their order that must be right.
        queries: (B, D).
        gallery: (G, D).

    Returns:
        Indices of the items, (B, K) int64, where K is `asked.depth`; and their ranks, (B, K) int64, from 0, ascending.
        Equally near items have equal ranks if their order must be right.
    """
    size = distances.shape[1]
    looked_at = min(size, asked.depth + 8 + asked.depth // 8)
    few = size // _ITEMS_PER_DIFFERENCE
    items, ranks, rows = _settle(distances, rounding, asked, queries, gallery, looked_at, few)
    if len(rows):
        by_parts, its_rounding = distances_by_parts(queries[rows], gallery)
        by_parts.masked_fill_(distances[rows].isinf(), torch.inf)
        items[rows], ranks[rows] = _settle_all(
            by_parts, its_rounding, asked.of(rows), queries[rows], gallery, looked_at
        )
    return items, ranks


def _settle_all(
    distances: Tensor, rounding: Rounding, asked: Asked, queries: Tensor, gallery: Tensor, looked_at: int
) -> tuple[Tensor, Tensor]:
    """Return the result of `nearest_in_order`. Look at `looked_at` items first, then at more, until all is decided."""
    size = distances.shape[1]
    items, ranks, rows = _settle(distances, rounding, asked, queries, gallery, looked_at, most_open=size)
    if len(rows):
        rest = distances[rows], rounding.of(rows), asked.of(rows), queries[rows], gallery, min(size, 8 * looked_at)
        items[rows], ranks[rows] = _settle_all(*rest)
    return items, ranks


def _settle(
    distances: Tensor,
    rounding: Rounding,
    asked: Asked,
    queries: Tensor,
    gallery: Tensor,
    looked_at: int,
    most_open: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result of `nearest_in_order`, and the queries that are left undecided, (U,), ascending.

    `looked_at` is the number of items to look at for each query, the nearest ones by `distances`, and at least the last
    cutoff. A query is left undecided if another item may belong before the last cutoff, or if it has more than
    `most_open` open places (see the head of this file).
    """
    values, items = distances.topk(looked_at, dim=1, largest=False, sorted=True)
    ranks = torch.arange(looked_at, device=items.device).repeat(len(items), 1)
    before_edge = asked.cutoffs[asked.cutoffs < looked_at].to(items.device)
    in_doubt = (values[:, before_edge] <= rounding.most(values[:, before_edge - 1])).any(dim=1)
    is_left = values[:, -1] <= rounding.most(values[:, asked.depth - 1 : asked.depth]).squeeze(1)
    if looked_at == distances.shape[1]:
        is_left.fill_(False)
    for rows in (in_doubt & ~is_left).nonzero().squeeze(1).split(max(1, _PLACES_AT_ONCE // looked_at)):
        is_open = _open_places(values[rows], rounding.of(rows), before_edge)
        if asked.labels is not None:
            of_queries, of_gallery = asked.labels
            is_open = _of_both_kinds(is_open, of_gallery[items[rows]] == of_queries[rows, None])
        too_many = is_open.sum(dim=1) > most_open
        is_left[rows] = too_many
        row, place = (is_open & ~too_many[:, None]).nonzero(as_tuple=True)
        row = rows[row]
        items[row, place], ranks[row, place] = _in_order(row, place, items[row, place], queries, gallery)
    return items[:, : asked.depth], ranks[:, : asked.depth], is_left.nonzero().squeeze(1)


def distances_by_parts(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Rounding]:
    """Return |q - g|^2, (B, G) float64, of `queries` (B, D) and `gallery` (G, D), and a bound of its rounding error.

    Each coordinate is split into two parts, a whole multiple of a step and a rest of at most half a step. Products of
    two multiples are exact. All other products have a rest as a factor, so that they are small, and so is their
    rounding. The work is three times that of a plain product.
    Source: Ozaki et al., Error-free transformations of matrix multiplication, Numerical Algorithms 59, 2012.
    """
    dimensions, items_at_once = gallery.shape[1], max(1, _PARTS_AT_ONCE[gallery.device.type] // gallery.shape[1])
    blocks = gallery.split(items_at_once)
    reach = _largest_norm(queries.double()) + torch.stack([_largest_norm(block.double()) for block in blocks]).max()
    limits = torch.finfo(reach.dtype)
    step = exact_step(reach).clamp(min=limits.tiny)
    whole, rest, squares, small_squares = _parts(queries.double(), step)
    factors = torch.cat([whole, rest], dim=1)
    distances = torch.empty(len(queries), len(gallery), dtype=reach.dtype, device=gallery.device)
    for block, out in zip(blocks, distances.split(items_at_once, dim=1), strict=True):
        items = block.double()
        g_whole, g_rest, g_squares, g_small_squares = _parts(items, step)
        exact = torch.addmm(g_squares, whole, g_whole.t(), alpha=-2).add_(squares[:, None])
        g_factors = torch.cat([g_rest, items], dim=1)
        small = torch.addmm(g_small_squares, factors, g_factors.t(), alpha=-2).add_(small_squares[:, None])
        torch.add(exact, small, out=out)
    magnitudes = 2.1 * dimensions**0.5 * step * reach  # of the inexact products: the norm of a rest is sqrt(D) step / 2
    absolute = product_error(2 * dimensions, reach.dtype) * magnitudes + 8 * dimensions * limits.tiny
    return distances, Rounding(absolute.expand(len(queries), 1), product_error(16, reach.dtype))


def _parts(embeddings: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split `embeddings` (n, D) float64 into whole multiples of `step` and rests, (n, D) both.

    Return also |multiples|^2, (n,), and |embeddings|^2 - |multiples|^2, (n,).
    """
    whole = (embeddings / step).round_().mul_(step)
    rest = embeddings - whole
    return whole, rest, whole.square().sum(dim=1), ((whole + embeddings) * rest).sum(dim=1)


def _largest_norm(embeddings: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(embeddings, dim=1)
    return norms.max()


def _open_places(values: Tensor, rounding: Rounding, cutoffs: Tensor) -> Tensor:
    """Return which places are open, (B, L) bool: the item at an open place may belong on the other side of a cutoff.

    `values` are computed distances, (B, L), ascending, correct within `rounding`; `cutoffs` (C,) are less than L.
    """
    edges = values[:, cutoffs - 1]
    begin = torch.searchsorted(values, rounding.least(edges))
    end = torch.searchsorted(values, rounding.most(edges), right=True)
    is_open = (end > cutoffs).long()  # an item behind the cutoff may belong before it
    changes = torch.zeros(len(values), values.shape[1] + 1, dtype=torch.int64, device=values.device)
    changes.scatter_add_(1, begin, is_open).scatter_add_(1, end, -is_open)
    return changes.cumsum(dim=1)[:, :-1] > 0


def _of_both_kinds(is_open: Tensor, is_hit: Tensor) -> Tensor:
    """Return `is_open`, (B, L) bool, without those runs of adjacent open places that have only hits or only misses.

    `is_hit`, (B, L), says whether the item at a place is of the query's class, a hit. The order within hits, or within
    misses, does not matter.
    """
    starts = is_open.clone()
    starts[:, 1:] &= ~is_open[:, :-1]
    run = starts.flatten().cumsum(dim=0)
    sizes = torch.bincount(run[is_open.flatten()])
    hits = torch.bincount(run[(is_open & is_hit).flatten()], minlength=len(sizes))
    are_both = (hits > 0) & (hits < sizes)
    return is_open & are_both[run].view_as(is_open)


def _in_order(rows: Tensor, places: Tensor, items: Tensor, queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Sort the `items` of each run of adjacent `places` by distance, then by index. Return items and ranks, (P,) both.

    The rank of an item is its place. Equally near items all have the place of the first of them as their rank. `rows`
    (P,) has the query of each place, ascending, and places ascend within a query; `queries` (B, D), `gallery` (G, D).
    """
    distances = distances_of_pairs(queries, gallery, rows, items)
    follows = (rows[1:] == rows[:-1]) & (places[1:] == places[:-1] + 1)
    run = _starts_with_true(~follows).cumsum(dim=0)
    order = items.argsort()
    for key in (distances, run):
        order = order[key[order].argsort(stable=True)]
    distances = distances[order]
    is_tied = follows & (distances[1:] == distances[:-1])
    indices = torch.arange(len(rows), device=rows.device)
    first_of_tied = indices.where(_starts_with_true(~is_tied), 0).cummax(dim=0).values
    return items[order], places[first_of_tied]


def _starts_with_true(flags: Tensor) -> Tensor:
    return torch.cat([flags.new_ones(1), flags])
