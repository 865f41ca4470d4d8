"""Find the gallery items nearest to each query, in blocks of queries, so that N x N distances never exist at once.

Items are compared by |q - g|^2, computed in float64 from the embeddings' differences, in a fixed order. Of items at
equal distances, the one that comes first in the gallery counts as the nearer. So a ranking depends neither on the
processor, nor on the number of threads or ranks, nor on how many queries are compared at a time.

Few distances have to be computed that way. A matrix product in the embeddings' own precision gives |g|^2 - 2 q.g with a
bounded rounding. Where the rounding leaves the order of items open, near_ties.py decides. If all coordinates are
multiples of a coarse power of two (integers or signs), the products are exact and leave nothing open. If the gallery
has many equal embeddings, each distinct embedding is compared once.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from mdr_tune.metric.full_precision import full_float32
from mdr_tune.metric.near_ties import Asked, Rounding, nearest_in_order, product_rounding, products_are_exact

# Number of distances in one block. On a CPU they are 64 MiB of float32. Half as many or four times as many take the
# same time within a tenth (60,000 x 512, 128 to 1,120 queries at a time, on two cores). A GPU needs large kernels, up
# to half a GiB.
_CPU_BLOCK_ENTRIES = 2**24
_GPU_BLOCK_ENTRIES = 2**27

# A block may take a quarter of a GPU's free memory, including all temporaries: up to eight floats a distance, for the
# selection and for the repair of ties.
_GPU_SHARE = 1 / 4
_FLOATS_PER_DISTANCE = 8

_COPIES_LEFT_IN = 4
"""Least mean number of items per distinct embedding for which each distinct embedding is compared only once.

Below it, equal embeddings are treated like other near ties.
"""

R = TypeVar("R", slice, Tensor)

_COMPARED_FIRST = 16
"""Number of columns of the embeddings that are compared first in the search for equal embeddings."""


def nearest_items(
    queries: Tensor,
    gallery: Tensor,
    depth: int,
    rows: R,
    excludes_self: bool,
    block_size: int | None = None,
    cutoffs: Sequence[int] | None = None,
    labels: tuple[Tensor, Tensor] | None = None,
) -> Iterator[tuple[R, Tensor]]:
    """Yield blocks of the queries `rows` with the indices of each query's `depth` nearest gallery items.

    Args:
        queries: (N, D), finite.
        gallery: (G, D), finite, of the dtype of `queries`.
        depth: number of items to find for each query, from 1 to G, or to G - 1 with `excludes_self`.
        rows: the queries to rank: a slice, whose start and stop are given and within the queries, or indices (n,).
        excludes_self: whether query i must not find item i.
        block_size: number of queries in a block. None chooses a number that fits into memory.
        cutoffs: ranks from 1 to `depth`. For each of these ranks k, and for `depth`, the first k items are the k
            nearest. Items between two neighbouring cutoffs may be in any order. None: all items are in order.
        labels: classes of the queries, (N,), and of the gallery, (G,). With labels, two nearly equally near items may
            be swapped if both are of the query's class, or if neither is. None: `cutoffs` alone decide.

    Yields:
        The block as a part of `rows`, in order; and its items, (B, depth) int64, nearest first.
    """
    if block_size is None:
        block_size = _block_size(gallery)
    prepared = _prepare(queries, gallery)
    # Copies of an item are put between the items later, so that all distinct items have to be in order.
    reached = min(depth + (excludes_self and prepared.has_copies), len(prepared.gallery))
    ends = range(1, reached + 1) if cutoffs is None else sorted({*(cutoffs or ()), depth})
    asked = Asked(torch.tensor(ends), labels)
    if prepared.has_copies:
        asked = Asked(torch.arange(1, reached + 1))
    # All blocks use the same memory: getting new memory from the system takes a fifth of the time of the products.
    blocks = _blocks(rows, block_size)
    most = max([_size(block) for block in blocks], default=0)
    buffer = gallery.new_empty((most, len(prepared.gallery)))
    for block in blocks:
        distances = _distances(queries[block] - prepared.centre, prepared, buffer)
        if excludes_self and not prepared.has_copies:
            _exclude_self(distances, block)
        if not prepared.is_exact:
            items, ranks = nearest_in_order(
                distances,
                Rounding(prepared.rounding.absolute[block], prepared.rounding.relative),
                asked.of(block),
                queries[block],
                prepared.gallery,
            )
            if not prepared.has_copies:
                yield block, items
                continue
            distances.fill_(torch.inf).scatter_(1, items, ranks.to(distances.dtype))
        if prepared.has_copies:
            distances = distances.index_select(1, prepared.which)
            if excludes_self:
                _exclude_self(distances, block)
        yield block, _nearest(distances, depth)


def _blocks(rows: R, block_size: int) -> list[R]:
    """Return `rows` in blocks of `block_size` queries."""
    if isinstance(rows, Tensor):
        starts = range(0, len(rows), block_size)
        return [rows[first : first + block_size] for first in starts]
    starts = range(rows.start, rows.stop, block_size)
    return [slice(first, min(first + block_size, rows.stop)) for first in starts]


def _size(block: slice | Tensor) -> int:
    return block.stop - block.start if isinstance(block, slice) else len(block)


def _exclude_self(distances: Tensor, block: slice | Tensor) -> None:
    """Set the distance of each query of `block` to itself to infinity, in `distances` (B, G)."""
    if isinstance(block, slice):
        distances.diagonal(offset=block.start).fill_(torch.inf)
    else:
        distances.scatter_(1, block[:, None], torch.inf)


class _Prepared(NamedTuple):
    """Data that all blocks of queries share.

    Attributes:
        gallery: (U, D), the distinct embeddings of the gallery; the whole gallery if few of its embeddings are copies.
        which: (G,) int64, the index of each item's embedding in `gallery`.
        centre: (D,), a point near the mean of `gallery`.
        centred: (U, D), `gallery` less the centre, which makes the products and their rounding smaller.
        squared_norms: (U,), squared norms of `centred`. Those of the queries do not change the order.
        rounding: bound of the rounding error of products with each of the N queries.
        is_exact: whether the products do not round at all.
    """

    gallery: Tensor
    which: Tensor
    centre: Tensor
    centred: Tensor
    squared_norms: Tensor
    rounding: Rounding
    is_exact: bool

    @property
    def has_copies(self) -> bool:
        """Whether an embedding of `gallery` stands for several items."""
        return len(self.gallery) < len(self.which)


def _prepare(queries: Tensor, gallery: Tensor) -> _Prepared:
    distinct, which = distinct_rows(gallery)
    if len(distinct) * _COPIES_LEFT_IN > len(gallery):
        distinct = which = torch.arange(len(gallery), device=gallery.device)
    different = gallery[distinct] if len(distinct) < len(gallery) else gallery
    centre = centre_of(different)
    centred = different - centre
    largest_norm = torch.linalg.vector_norm(centred, dim=1).max()
    query_norms = torch.linalg.vector_norm(queries - centre, dim=1)
    reach = query_norms.max() + largest_norm
    return _Prepared(
        gallery=different,
        which=which,
        centre=centre,
        centred=centred,
        squared_norms=centred.square().sum(dim=1),
        rounding=product_rounding(query_norms, gallery.shape[1]),
        is_exact=all(products_are_exact(embeddings, centre, reach) for embeddings in (queries, different)),
    )


def centre_of(gallery: Tensor) -> Tensor:
    """Return a point (D,) near the mean of `gallery`: each coordinate is a whole multiple of a power of two.

    This power is an eighth to a quarter of the coordinate's spread. Coordinates that are multiples of a coarse power of
    two, such as integers, therefore stay so when they are centred.
    """
    least, most = gallery.amin(dim=0), gallery.amax(dim=0)
    _, exponent = torch.frexp(most - least)  # the spread is 0.5 to 1 times 2 ** exponent
    step = torch.ldexp(torch.ones_like(least), exponent - 3)
    # The step is 0 where the spread is a few of the smallest numbers that there are.
    return torch.where(step > 0, (gallery.mean(dim=0) / step).round() * step, least)


def can_be_ranked(embeddings: Tensor) -> bool:
    """Return whether `embeddings` (n, D) are finite, and small enough that distances computed from them are finite."""
    limit = (torch.finfo(embeddings.dtype).max / 16) ** 0.5
    return bool((torch.linalg.vector_norm(embeddings, dim=1) <= limit).all())  # False for NaN, too


NOT_RANKED = "embeddings that are not finite, or too large to be compared"
"""Part of messages: a description of the embeddings for which `can_be_ranked` is False."""


def _block_size(gallery: Tensor) -> int:
    entries = _CPU_BLOCK_ENTRIES
    if gallery.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(gallery.device)
        free += torch.cuda.memory_reserved(gallery.device) - torch.cuda.memory_allocated(gallery.device)
        affordable = int(free * _GPU_SHARE) // (gallery.element_size() * _FLOATS_PER_DISTANCE)
        entries = min(_GPU_BLOCK_ENTRIES, affordable)
    return max(1, entries // len(gallery))


def distinct_rows(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices (U,) of the distinct rows of `embeddings` (G, D), and which of them each row equals, (G,).

    The first of equal rows counts as the distinct one. The indices ascend. The second result has numbers from 0 to U -
    1. Both are int64.
    """
    first = torch.arange(len(embeddings), device=embeddings.device)
    # Copies agree in any few columns. To compare all columns of all rows would take as long as ranking 6,000 of them.
    some_columns = embeddings[:, :: math.ceil(embeddings.shape[1] / _COMPARED_FIRST)]
    _, group, sizes = torch.unique(some_columns, dim=0, return_inverse=True, return_counts=True)
    suspects = (sizes[group] > 1).nonzero().squeeze(1)
    if len(suspects):
        different, group = torch.unique(embeddings[suspects], dim=0, return_inverse=True)
        first_of_group = suspects.new_full((len(different),), len(embeddings))
        first[suspects] = first_of_group.scatter_reduce(0, group, suspects, "amin")[group]
    distinct, which = torch.unique(first, return_inverse=True)
    return distinct, which


def _distances(queries: Tensor, prepared: _Prepared, buffer: Tensor) -> Tensor:
    """Return |q - g|^2 - |q|^2, (B, U), of the centred `queries` q and each `prepared` embedding g, in `buffer`."""
    out = buffer[: len(queries)]
    with full_float32(queries.device.type):
        torch.addmm(prepared.squared_norms, queries, prepared.centred.t(), alpha=-2, out=out)
    return out


def _nearest(distances: Tensor, depth: int) -> Tensor:
    """Return the columns of each row's `depth` smallest `distances`, (B, depth), sorted by entry, then by column."""
    beyond = min(depth + 1, distances.shape[1])  # one item more shows whether there is a tie at the edge
    nearest = distances.topk(beyond, dim=1, largest=False, sorted=True)
    values, items = nearest.values[:, :depth], nearest.indices[:, :depth]
    # Where a tie goes on beyond the depth, not only the order of the nearest items is open, but also which they are.
    at_edge = (nearest.values[:, depth:] == values[:, -1:]).any(dim=1)
    cut_off = at_edge.nonzero().squeeze(1)
    if len(cut_off):
        in_question = distances[cut_off]
        items[cut_off] = _columns_within(in_question, values[cut_off, -1:], depth)
        values[cut_off] = in_question.gather(1, items[cut_off])
    tied = ((values[:, 1:] == values[:, :-1]).any(dim=1) | at_edge).nonzero().squeeze(1)
    if len(tied):
        columns, places = items[tied].sort(dim=1)
        order = values[tied].gather(1, places).sort(dim=1, stable=True).indices
        items[tied] = columns.gather(1, order)
    return items


def _columns_within(distances: Tensor, edge: Tensor, depth: int) -> Tensor:
    """Return the columns (B, depth), ascending, of the `depth` smallest values in each row of `distances` (B, C).

    `edge` (B, 1) is the largest of these values. Among values equal to the edge, those in the first columns are taken.
    """
    nearer, equal = distances < edge, distances == edge
    places = depth - nearer.sum(dim=1, keepdim=True)  # left for entries equal to the edge; the first get them
    chosen = nearer | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= places))
    return chosen.nonzero()[:, 1].view(-1, depth)
