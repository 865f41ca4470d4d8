"""Which items of a gallery are nearest to each query, in blocks of queries: N x N distances never exist at once.

Among items at equal distances the one that comes first in the gallery is the nearer one. Distances are computed as
|g|^2 - 2 q.g, in the precision of the embeddings. A matrix product may round the same sum differently at different
places of its result, and each processor has products of its own. Ties do not depend on that:

- An embedding that is in the gallery several times has one distance, computed once.
- Embeddings on a coarse binary grid (integers, halves) have exact distances in any order of summation.

All other distances that differ by less than their rounding may swap places with the processor and with the size of a
block, hence with the number of ranks.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mdr_tune.metric.full_precision import full_float32

# Distances of one block. On a CPU 64 MiB of float32: half of it or four times as many are as fast, within a tenth
# (60,000 x 512, 128 to 1,120 queries at a time, on two cores). A GPU wants large kernels, up to half a GiB.
_CPU_BLOCK_ENTRIES = 2**24
_GPU_BLOCK_ENTRIES = 2**27

# Of a GPU's free memory a block may take a quarter, all temporaries counted: up to eight floats a distance, for the
# selection and for the repair of ties.
_GPU_SHARE = 1 / 4
_FLOATS_PER_DISTANCE = 8

_COMPARED_FIRST = 16
"""Columns of the embeddings that are compared first when copies are looked for."""


def nearest_items(
    queries: Tensor, gallery: Tensor, depth: int, rows: slice, excludes_self: bool, block_size: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of the queries `rows` with the indices of the `depth` nearest gallery items of each.

    Args:
        queries: (N, D), finite, near the origin for accurate distances.
        gallery: (G, D), of the same dtype.
        depth: 1 .. G, or G - 1 with `excludes_self`.
        rows: of the queries; start and stop are given and within them.
        excludes_self: query i is not to find item i.
        block_size: queries at a time; None chooses by the memory.

    Yields:
        Slices of the queries, in order, and (B, depth) int64, nearest first.
    """
    if block_size is None:
        block_size = _block_size(gallery)
    distinct, which = distinct_rows(gallery)
    has_copies = len(distinct) < len(gallery)
    compared = gallery[distinct] if has_copies else gallery
    squared_norms = compared.square().sum(dim=1)  # those of the queries do not change the order
    # One piece of memory for all blocks: getting a new one from the system takes a fifth of the time of the products.
    rows_at_once = min(block_size, rows.stop - rows.start)
    buffer = gallery.new_empty(rows_at_once, len(compared))
    for first in range(rows.start, rows.stop, block_size):
        block = slice(first, min(first + block_size, rows.stop))
        distances = _distances(queries[block], compared, squared_norms, buffer)
        if has_copies:
            distances = distances.index_select(1, which)
        if excludes_self:
            distances.diagonal(offset=first).fill_(torch.inf)
        yield block, _nearest(distances, depth)


def _block_size(gallery: Tensor) -> int:
    entries = _CPU_BLOCK_ENTRIES
    if gallery.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(gallery.device)
        free += torch.cuda.memory_reserved(gallery.device) - torch.cuda.memory_allocated(gallery.device)
        affordable = int(free * _GPU_SHARE) // (gallery.element_size() * _FLOATS_PER_DISTANCE)
        entries = min(_GPU_BLOCK_ENTRIES, affordable)
    return max(1, entries // len(gallery))


def distinct_rows(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Find the different embeddings among some of which several may be equal.

    Args:
        embeddings: (G, D).

    Returns:
        The row of the first of each of the U different embeddings, ascending, (U,) int64; and for each row, which of
        them it equals, (G,) int64 from 0 to U - 1.
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


def _distances(queries: Tensor, gallery: Tensor, squared_norms: Tensor, buffer: Tensor) -> Tensor:
    """Return squared distances less the queries' squared norms, (B, G), in the memory of `buffer`."""
    out = buffer[: len(queries)]
    with full_float32(gallery.device.type):
        torch.addmm(squared_norms, queries, gallery.t(), alpha=-2, out=out)
    return out


def _nearest(distances: Tensor, depth: int) -> Tensor:
    """Return the columns of the `depth` smallest entries of each row, (B, depth), equal ones by column."""
    beyond = min(depth + 1, distances.shape[1])  # one further item shows a tie at the edge
    nearest = distances.topk(beyond, dim=1, largest=False, sorted=True)
    values, items = nearest.values[:, :depth], nearest.indices[:, :depth]
    # Where the tie goes on beyond the depth, it is not only open in which order the nearest are, but which they are.
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
    """Return the columns of the `depth` smallest entries, ascending, the largest of them being `edge` (B, 1)."""
    nearer, equal = distances < edge, distances == edge
    places = depth - nearer.sum(dim=1, keepdim=True)  # for the equal ones; the first get them
    chosen = nearer | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= places))
    return chosen.nonzero()[:, 1].view(-1, depth)
