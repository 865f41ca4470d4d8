"""Order items whose distances differ by less than a matrix product rounds them.

A product may round the same sum differently at different places of its result, and each processor has products of its
own. How far it can be wrong is bounded, though, so it decides between items whose distances differ by more than that.
What it leaves open is compared by differences, in float64, added up in a fixed order. Those are elementwise operations,
which give the same bits on every processor. They are slow, so where many items of a query are open (tight clusters, a
query that is far from all), products of the embeddings' parts, which round next to nothing, decide first.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_NUMBERS_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}
"""Differences that exist at once. On a CPU 2 MiB of float64, which a core's cache holds."""
_PLACES_AT_ONCE = 2**20
"""Places of rankings that are put in order at once."""
_PARTS_AT_ONCE = {"cpu": 2**21, "cuda": 2**24}
"""Numbers of a gallery that are in parts at once, of which there are some five copies in float64."""
_ITEMS_PER_DIFFERENCE = 16
"""Items whose distances are had by the embeddings' parts in the time that one takes by differences."""


def squared_distances(queries: Tensor, items: Tensor) -> Tensor:
    """Return |q - g|^2 of each pair, the same bits on every processor.

    Args:
        queries: (P, D).
        items: (P, D).

    Returns:
        (P,) float64, exact if all numbers are whole multiples of a power of two, up to some 2^22 times that.
    """
    terms = (queries.double() - items.double()).square_()
    while (width := terms.shape[1]) > 1:
        half = width // 2
        terms[:, :half] += terms[:, width - half :]
        terms = terms[:, : width - half]
    return terms.squeeze(1)


def distances_of_pairs(queries: Tensor, gallery: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """Return `squared_distances` of the queries `rows` (P,) to `items` (P,) of the gallery, some at a time."""
    at_once = max(1, _NUMBERS_AT_ONCE[gallery.device.type] // gallery.shape[1])
    pairs = zip(rows.split(at_once), items.split(at_once), strict=True)
    # index_select is ten times as fast as indexing.
    return torch.cat([squared_distances(queries.index_select(0, q), gallery.index_select(0, g)) for q, g in pairs])


class Rounding(NamedTuple):
    """By how much computed distances of each query may be wrong: a value v by `absolute + relative * v`.

    Attributes:
        absolute: (B, 1).
        relative: less than 1.
    """

    absolute: Tensor
    relative: float

    def of(self, rows: Tensor) -> "Rounding":
        """Return that of some of the queries."""
        return Rounding(self.absolute[rows], self.relative)

    def least(self, values: Tensor) -> Tensor:
        """Return the least values, (B, C), that may belong to items as far as those of `values`, (B, C), or farther."""
        return (values * (1 - self.relative) - 2 * self.absolute) / (1 + self.relative)

    def most(self, values: Tensor) -> Tensor:
        """Return the largest values, (B, C), that may belong to items as near as those of `values`, (B, C)."""
        return (values * (1 + self.relative) + 2 * self.absolute) / (1 - self.relative)


def product_rounding(query_norms: Tensor, dimensions: int) -> Rounding:
    """Return by how much |g|^2 - 2 q.g may differ from its value, whatever the product's kernel.

    A sum of D products is within D u of the sum of their magnitudes, in any order, where u is half the distance from 1
    to the next number. The magnitudes add up to |g|^2 + 2 |q||g| at most (Cauchy and Schwarz), less than
    (|q| + |g|)^2 <= (2 |q| + |q - g|)^2 <= 8 |q|^2 + 2 |q - g|^2 = 10 |q|^2 + 2 (|g|^2 - 2 q.g). So an item that is
    far away does not make near ones less certain.
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1.

    Args:
        query_norms: (B,), of centred queries.
        dimensions: D.
    """
    relative = product_error(dimensions, query_norms.dtype)
    underflow = 4 * dimensions * torch.finfo(query_norms.dtype).tiny  # smaller numbers may count as 0
    of_value = relative / (1 - 2 * relative)  # the value that is known is the rounded one
    return Rounding((10 * of_value * query_norms.square() + 2 * underflow)[:, None], 2 * of_value)


def product_error(dimensions: int, dtype: torch.dtype) -> float:
    """Return by how much a sum of D products may be wrong, as a share of the sum of their magnitudes.

    24 u of it cover that q and g were centred, that |g|^2 is added, `squared_distances`, and the arithmetic of
    `Rounding`.
    """
    sum_of_products = (dimensions + 24) * torch.finfo(dtype).eps / 2
    return min(sum_of_products / (1 - sum_of_products), 1 / 4)  # from 2^21 dimensions on no float32 decides anything


def exact_step(reach: Tensor) -> Tensor:
    """Return a power of two of whose whole multiples no sum of |q|^2 + |g|^2 - 2 q.g rounds, in any order.

    Args:
        reach: the largest |q| + |g|, a scalar; its dtype is that of the sums. They are less than 2^24 times the square
            of the step (float32).
    """
    largest_whole_number = 2 / torch.finfo(reach.dtype).eps
    _, exponent = torch.frexp(reach / largest_whole_number**0.5)
    return torch.ldexp(torch.ones_like(reach), exponent)


def products_are_exact(embeddings: Tensor, centre: Tensor, reach: Tensor) -> bool:
    """Tell whether no sum of |g|^2 - 2 q.g rounds, in any order: all numbers are whole multiples of `exact_step`.

    Args:
        embeddings: (N, D), queries and gallery.
        centre: (D,), what is subtracted from them.
        reach: the largest |q| + |g| after that, a scalar.
    """
    step = exact_step(reach)
    if step.square() < torch.finfo(step.dtype).tiny:  # squares of small numbers would count as 0
        return False
    # Nearly all embeddings that are on no such grid show it in their first row.
    return all(bool((numbers.remainder(step) == 0).all()) for numbers in (embeddings[0], centre, embeddings))


class Asked(NamedTuple):
    """Which part of the order of the items matters. The rest need not be found out exactly.

    Attributes:
        cutoffs: (C,) int64, ascending from 1 on, on the CPU. The first k items are the k nearest for each cutoff k. The
            order among items without a cutoff between them may be wrong by the rounding.
        labels: classes of the queries, (B,), and of the gallery, (G,), int64. If they are given, the order among items
            of the query's class may be wrong by the rounding, and so may the order among all others.
    """

    cutoffs: Tensor
    labels: tuple[Tensor, Tensor] | None = None

    @property
    def depth(self) -> int:
        """How many items are asked for."""
        return int(self.cutoffs[-1])

    def of(self, rows: Tensor | slice) -> "Asked":
        """Return what is asked of some of the queries."""
        return self if self.labels is None else Asked(self.cutoffs, (self.labels[0][rows], self.labels[1]))


def nearest_in_order(
    distances: Tensor, rounding: Rounding, asked: Asked, queries: Tensor, gallery: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the nearest items of each query. Of equally near ones, the first in the gallery is the nearer.

    Args:
        distances: (B, G), for each query |q - g|^2 less a number of its own, right within `rounding`; infinity for an
            item that is not to be found.
        rounding: by how much `distances` may be wrong.
        asked: how many items, and which of their order matters.
        queries: (B, D).
        gallery: (G, D).

    Returns:
        The items, (B, K) int64, where K is `asked.depth`. Their ranks, (B, K) int64, ascending, the same for items
        that are equally near.
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
    """Return what `nearest_in_order` does, looking at more and more items where that is needed, and leaving nothing."""
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
    """Return what `nearest_in_order` does, and the rows that are left undecided, ascending, (U,).

    Args:
        looked_at: the nearest by `distances` that are looked at, at least as many as the last cutoff. Rows where items
            beyond them may belong before the last cutoff are left.
        most_open: rows where more places are open than that are left.
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
    """Return |q - g|^2, (B, G) float64, and how far it may be wrong, by products: three times the work of one.

    A number is a whole multiple of a step and a rest of at most half a step. Products of multiples are exact. All
    others have a rest as one factor: they are small, and so is their rounding.
    Source: Ozaki et al., Error-free transformations of matrix multiplication, Numerical Algorithms 59, 2012.

    Args:
        queries: (B, D).
        gallery: (G, D).
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
    magnitudes = 2.1 * dimensions**0.5 * step * reach  # of the products that are not exact: a rest is step / 2 sqrt(D)
    absolute = product_error(2 * dimensions, reach.dtype) * magnitudes + 8 * dimensions * limits.tiny
    return distances, Rounding(absolute.expand(len(queries), 1), product_error(16, reach.dtype))


def _parts(embeddings: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the whole multiples of the step in (n, D) float64, the rests, and the parts of the squared norms, (n,)."""
    whole = (embeddings / step).round_().mul_(step)
    rest = embeddings - whole
    return whole, rest, whole.square().sum(dim=1), ((whole + embeddings) * rest).sum(dim=1)


def _largest_norm(embeddings: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(embeddings, dim=1)
    return norms.max()


def _open_places(values: Tensor, rounding: Rounding, cutoffs: Tensor) -> Tensor:
    """Return of which items it is open on which side of a cutoff they are, (B, L) bool.

    Args:
        values: (B, L), ascending.
        rounding: by how much `values` may be wrong.
        cutoffs: (C,), less than L.
    """
    edges = values[:, cutoffs - 1]
    begin = torch.searchsorted(values, rounding.least(edges))
    end = torch.searchsorted(values, rounding.most(edges), right=True)
    is_open = (end > cutoffs).long()  # there are items behind the cutoff that may belong before it
    changes = torch.zeros(len(values), values.shape[1] + 1, dtype=torch.int64, device=values.device)
    changes.scatter_add_(1, begin, is_open).scatter_add_(1, end, -is_open)
    return changes.cumsum(dim=1)[:, :-1] > 0


def _of_both_kinds(is_open: Tensor, is_hit: Tensor) -> Tensor:
    """Return the open places, (B, L) bool, without runs of places that follow each other where all or none is a hit."""
    starts = is_open.clone()
    starts[:, 1:] &= ~is_open[:, :-1]
    run = starts.flatten().cumsum(dim=0)
    sizes = torch.bincount(run[is_open.flatten()])
    hits = torch.bincount(run[(is_open & is_hit).flatten()], minlength=len(sizes))
    are_both = (hits > 0) & (hits < sizes)
    return is_open & are_both[run].view_as(is_open)


def _in_order(rows: Tensor, places: Tensor, items: Tensor, queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Sort the items of each run of places that follow each other, by distance, then by their index.

    Args:
        rows: (P,), ascending, of the queries.
        places: (P,), ascending within a row.
        items: (P,).
        queries: (B, D).
        gallery: (G, D).

    Returns:
        The items for these places, (P,), and their ranks, (P,): of equally near items, the place of the first.
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
