"""Order items whose distances differ by less than a matrix product rounds them.

A product may round the same sum differently at different places of its result, and each processor has products of its
own. How far it can be wrong is bounded, though, so it decides between items whose distances differ by more than that.
The others are compared by their differences, in float64, added up in a fixed order. Those are elementwise operations,
which give the same bits on every processor.
"""

import torch
from torch import Tensor

_NUMBERS_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}
"""Differences that exist at once. On a CPU 2 MiB of float64, which a core's cache holds."""
_PLACES_AT_ONCE = 2**20
"""Places of rankings that are put in order at once."""


def squared_distances(queries: Tensor, items: Tensor) -> Tensor:
    """Return |q - g|^2 of each pair, the same bits on every processor.

    Args:
        queries: (P, D).
        items: (P, D).

    Returns:
        (P,) float64, exact if all numbers are whole multiples of a power of two, up to some 2^22 times that.
    """
    terms = (queries.double() - items).square_()
    while (width := terms.shape[1]) > 1:
        half = width // 2
        terms[:, :half] += terms[:, width - half :]
        terms = terms[:, : width - half]
    return terms.squeeze(1)


def distances_of_pairs(queries: Tensor, gallery: Tensor, rows: Tensor, items: Tensor) -> Tensor:
    """Return `squared_distances` of the queries `rows` (P,) to `items` (P,) of the gallery, some at a time."""
    at_once = max(1, _NUMBERS_AT_ONCE[gallery.device.type] // gallery.shape[1])
    pairs = zip(rows.split(at_once), items.split(at_once), strict=True)
    return torch.cat([squared_distances(queries[some_rows], gallery[some]) for some_rows, some in pairs])


def product_rounding(query_norms: Tensor, largest_norm: Tensor, dimensions: int) -> Tensor:
    """Return by how much |g|^2 - 2 q.g may differ from its value, (B,), whatever the product's kernel.

    A sum of D products is within D u of the sum of their magnitudes, in any order, where u is half the distance from 1
    to the next number. The magnitudes add up to |g|^2 + 2 |q||g| at most (Cauchy and Schwarz), less than
    (|q| + |g|)^2. The 16 u more cover that q and g were centred, that |g|^2 is added, and `squared_distances`.
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1.

    Args:
        query_norms: (B,), of centred queries.
        largest_norm: the largest of the centred gallery, a scalar.
        dimensions: D.
    """
    limits = torch.finfo(query_norms.dtype)
    relative = (dimensions + 16) * limits.eps / 2
    underflow = 4 * dimensions * limits.tiny  # smaller numbers may count as 0
    return relative / (1 - relative) * (query_norms + largest_norm).square() + underflow


def products_are_exact(embeddings: Tensor, centre: Tensor, reach: Tensor) -> bool:
    """Tell whether no sum of |g|^2 - 2 q.g rounds, in any order.

    That is so if all numbers are whole multiples of a power of two so large that all sums are less than 2^24 times its
    square (float32).

    Args:
        embeddings: (N, D), queries and gallery.
        centre: (D,), what is subtracted from them.
        reach: the largest |q| + |g| after that, a scalar.
    """
    largest_whole_number = 2 / torch.finfo(embeddings.dtype).eps
    _, exponent = torch.frexp(reach / largest_whole_number**0.5)
    step = torch.ldexp(torch.ones_like(reach), exponent)
    # Nearly all embeddings that are on no such grid show it in their first row.
    return all(bool((numbers.remainder(step) == 0).all()) for numbers in (embeddings[0], centre, embeddings))


def nearest_in_order(
    distances: Tensor, rounding: Tensor, cutoffs: Tensor, queries: Tensor, gallery: Tensor, looked_at: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the nearest items of each query. Of equally near ones, the first in the gallery is the nearer.

    Args:
        distances: (B, G), for each query |q - g|^2 less a number of its own, right within `rounding`; infinity for an
            item that is not to be found.
        rounding: (B,).
        cutoffs: (C,) int64, ascending from 1 on, on the CPU. The first k items are the k nearest for each cutoff k.
            The order among items without a cutoff between them may be wrong by the rounding.
        queries: (B, D).
        gallery: (G, D).
        looked_at: the nearest by `distances` that are looked at, at least as many as the last cutoff; None chooses.

    Returns:
        The items, (B, K) int64, where K is the last cutoff. Their ranks, (B, K) int64, ascending, the same for items
        that are equally near.
    """
    depth, size = int(cutoffs[-1]), distances.shape[1]
    looked_at = min(size, looked_at or depth + 8 + depth // 8)
    values, items = distances.topk(looked_at, dim=1, largest=False, sorted=True)
    ranks = torch.arange(looked_at, device=items.device).repeat(len(items), 1)
    before_edge = cutoffs[cutoffs < looked_at].to(items.device)
    gaps = values[:, before_edge] - values[:, before_edge - 1]  # (B, C)
    in_doubt = (gaps <= 2 * rounding[:, None]).any(dim=1).nonzero().squeeze(1)
    for rows in in_doubt.split(max(1, _PLACES_AT_ONCE // looked_at)):
        row, place = _open_places(values[rows], 2 * rounding[rows, None], before_edge)
        row = rows[row]
        items[row, place], ranks[row, place] = _in_order(row, place, items[row, place], queries, gallery)
    items, ranks = items[:, :depth], ranks[:, :depth]
    # Items beyond those looked at may belong before the last cutoff.
    cut_off = values[:, -1] <= values[:, depth - 1] + 2 * rounding
    if looked_at < size and bool(cut_off.any()):
        items[cut_off], ranks[cut_off] = nearest_in_order(
            distances[cut_off], rounding[cut_off], cutoffs, queries[cut_off], gallery, 8 * looked_at
        )
    return items, ranks


def _open_places(values: Tensor, margin: Tensor, cutoffs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and the places, (P,) each, of the items of which it is open on which side of a cutoff they are.

    Args:
        values: (B, L), ascending.
        margin: (B, 1), by how much two values must differ to be in the right order for sure.
        cutoffs: (C,), less than L.
    """
    edges = values[:, cutoffs - 1].contiguous()
    begin = torch.searchsorted(values, edges - margin)
    end = torch.searchsorted(values, edges + margin, right=True)
    is_open = (end > cutoffs).long()  # there are items behind the cutoff that may belong before it
    changes = torch.zeros(len(values), values.shape[1] + 1, dtype=torch.int64, device=values.device)
    changes.scatter_add_(1, begin, is_open).scatter_add_(1, end, -is_open)
    rows, places = (changes.cumsum(dim=1)[:, :-1] > 0).nonzero(as_tuple=True)
    return rows, places


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
