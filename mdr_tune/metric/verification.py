"""Verification: are two images of the same class? How often a threshold on their distance is right, over all pairs.

A pair of equal labels is positive, any other pair negative. A threshold accepts the pairs whose distance is below it.
TAR, the true accept rate, is the share of accepted positive pairs, and FAR, the false accept rate, that of accepted
negative pairs.

The result is exact: distances are those of near_ties.py, |q - g|^2 in float64 from the embeddings' differences, which
have the same bits on every processor. So the result depends neither on blocks nor on the number of ranks. Few distances
are computed that way. Matrix products give all of them with a bounded error E, in blocks. Two passes over the blocks
find each wanted threshold t:

1. Pairs are counted by the leading bits of their product's distance: floats of one sign are ordered like the integers
   of the same bits. The bin in which the rates cross the wanted ones is known then. No distance moves by more than E,
   and so does no crossing.
2. Pairs within 2 E of the bin are computed exactly. Those below are surely below t, those above are surely above.

If too many pairs are within 2 E, as for embeddings far from the rest, or in tight clusters, smaller bins are counted,
at last of products in float64, whose E is 10^-9 times as large. What float64 products cannot tell apart (relative
differences of about 10^-13) counts as equal if it is more than `_MOST_EXACT` pairs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from mdr_tune.metric.distance import check_embeddings
from mdr_tune.metric.full_precision import full_float32
from mdr_tune.metric.gather import gather_without_gradient, shard_slice
from mdr_tune.metric.near_ties import distances_of_pairs, product_error, products_are_exact
from mdr_tune.metric.ranking import can_be_ranked, centre_of
from mdr_tune.metric.retrieval import EmbeddingsNotFinite

_BLOCK_ENTRIES = {"cpu": 2**23, "cuda": 2**26}
"""Number of distances in a block, by type of device; 32 MiB of float32 on a CPU."""
_BINS = 2**16
_OCTAVES = 16
"""Range of the first bins: distances from the largest possible one down to its 2^-16th."""
_MOST_EXACT = 2**23
"""Largest number of pairs for one threshold that are computed exactly."""


class Part(NamedTuple):
    """This process's part of the work: rank `rank` of `world_size` ranks in the process group `group`."""

    rank: int = 0
    world_size: int = 1
    group: dist.ProcessGroup | None = None


ALONE = Part()


class Counts(NamedTuple):
    """Numbers of negative and of positive pairs."""

    negative: int
    positive: int


class Threshold(NamedTuple):
    """A threshold, and the numbers of pairs at a distance below it, and of those at or below it.

    `squared` is the squared distance. It is NaN if there is no such threshold.
    """

    squared: float
    below: Counts
    up_to: Counts


class Verification(NamedTuple):
    """Numbers of pairs in all, the threshold for each wanted FAR, that of the equal error rate, and given ones."""

    pairs: Counts
    at_far: list[Threshold]
    at_equal_errors: Threshold
    at_given: list[Threshold]

    def true_accept_rate(self, threshold: Threshold) -> float:
        """Return the share of positive pairs below `threshold`, in percent; NaN without pairs of both kinds."""
        return 100 * threshold.below.positive / self.pairs.positive if all(self.pairs) else math.nan

    def false_accept_rate(self, threshold: Threshold) -> float:
        """Return the share of negative pairs below `threshold`, in percent; NaN without pairs of both kinds."""
        return 100 * threshold.below.negative / self.pairs.negative if all(self.pairs) else math.nan

    def equal_error_rate(self) -> float:
        """Return the error rate, in percent, at which as many positives are rejected as negatives are accepted.

        Between two thresholds, both shares are interpolated linearly: the point is where straight lines between the
        points of the ROC curve cross FAR = 1 - TAR. NaN without a positive or a negative pair.
        """
        if not all(self.pairs):
            return math.nan
        below, up_to = self.at_equal_errors.below, self.at_equal_errors.up_to
        far = [counts.negative / self.pairs.negative for counts in (below, up_to)]
        frr = [1 - counts.positive / self.pairs.positive for counts in (below, up_to)]
        gap = [frr[0] - far[0], far[1] - frr[1]]
        share = gap[0] / (gap[0] + gap[1]) if gap[0] + gap[1] > 0 else 0.0
        return 100 * (far[0] + share * (far[1] - far[0]))


Crossed = Callable[[Tensor, Tensor], Tensor]
"""Whether numbers of negative and of positive pairs up to a distance, (n,) int64 each, have reached what is wanted."""


@torch.no_grad()
def verify(
    embeddings: Tensor,
    labels: Tensor,
    fars: Sequence[float],
    given: Sequence[float] = (),
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    part: Part = ALONE,
    block_entries: int | None = None,
) -> Verification:
    """Find thresholds on the distance of two images, over all pairs. The result is the same on all ranks.

    The threshold for a FAR is the largest distance such that the FAR of the pairs below it is at most the wanted one.
    So its TAR is the largest TAR with such a FAR.

    Args:
        embeddings: (N, D). Without `gallery`, the pairs are all N (N - 1) / 2 pairs of two different embeddings.
        labels: (N,), integers.
        fars: wanted FARs, each from 0 to below 1.
        given: squared distances; how many pairs are below each of them is counted.
        gallery: (G, D). The pairs are then all N G pairs of an embedding and an item of the gallery.
        gallery_labels: (G,).
        part: the part of the pairs that this process counts. Each rank must make the same call.
        block_entries: number of distances in a block. None chooses one.

    Raises:
        EmbeddingsNotFinite: embeddings are not finite, or so large that their distances are not finite.
        ValueError: a shape is wrong.
    """
    check_embeddings(embeddings, labels)
    problem = _Problem(embeddings, labels, gallery, gallery_labels, part, block_entries)
    total = problem.totals()
    far_targets = [_reaches(total, far) for far in fars]
    targets = [*far_targets, _equal_errors(total)]
    found = (
        problem.crossings(targets, [torch.tensor(value, dtype=torch.float64) for value in given]) if all(total) else []
    )
    if not found:
        nothing = Threshold(math.nan, Counts(0, 0), Counts(0, 0))
        found = [nothing] * (len(targets) + len(given))
    return Verification(total, found[: len(fars)], found[len(fars)], found[len(fars) + 1 :])


@torch.no_grad()
def verify_pairs(
    embeddings: Tensor,
    pairs: Tensor,
    is_positive: Tensor,
    fars: Sequence[float],
    given: Sequence[float] = (),
    part: Part = ALONE,
) -> Verification:
    """Return the result of `verify` for a list of pairs.

    Args:
        embeddings: (N, D).
        pairs: (P, 2) int64, indices of the two embeddings of each pair.
        is_positive: (P,) bool.
        fars: see `verify`; as `given` and `part`.

    Raises:
        EmbeddingsNotFinite: embeddings are not finite, or so large that their distances are not finite.
    """
    embeddings = _as_floats(embeddings)
    mine = shard_slice(len(pairs), part.world_size, part.rank)
    rows, columns = pairs[mine].unbind(dim=1)
    none = torch.zeros(0, dtype=torch.float64, device=embeddings.device)
    distances = distances_of_pairs(embeddings, embeddings, rows, columns) if len(rows) else none
    positive, negative = distances[is_positive[mine]], distances[~is_positive[mine]]
    window = _Window(Counts(0, 0), _gathered(negative, part), _gathered(positive, part))
    total = Counts(len(window.negative), len(window.positive))
    targets = [*(_reaches(total, far) for far in fars), _equal_errors(total)]
    nothing = Threshold(math.nan, Counts(0, 0), Counts(0, 0))
    found = [window.threshold(target) if all(total) else nothing for target in targets]
    return Verification(total, found[:-1], found[-1], [window.at(value) for value in given])


def _reaches(total: Counts, far: float) -> Crossed:
    """Return whether the share of negative pairs exceeds `far`: the first distance where it does is the threshold."""
    most = min(math.floor(far * total.negative) + 1, total.negative)
    while most > 0 and most / max(total.negative, 1) > far:  # as a quotient is rounded, so that 0.29 of 100 are 29
        most -= 1
    return lambda negative, positive: negative > most


def _equal_errors(total: Counts) -> Crossed:
    """Return whether at least as large a share of negative pairs is accepted as of positive pairs rejected."""
    return lambda negative, positive: (
        negative.double() * total.positive >= (total.positive - positive).double() * total.negative
    )


class _Window(NamedTuple):
    """Exact squared distances, ascending, and the numbers of the pairs that are surely nearer than all of them."""

    nearer: Counts
    negative: Tensor
    positive: Tensor

    def threshold(self, wanted: Crossed | Tensor) -> Threshold:
        """Return the smallest distance of a pair that has crossed what is `wanted`, or the distance `wanted` itself."""
        if isinstance(wanted, Tensor):
            return self.at(float(wanted))
        distances = torch.cat([self.negative, self.positive]).unique()
        negative, positive = (
            torch.searchsorted(values, distances, right=True) + nearer
            for values, nearer in ((self.negative, self.nearer.negative), (self.positive, self.nearer.positive))
        )
        has = wanted(negative, positive)
        assert bool(has.any()), "the wanted distance is not in the window"
        return self.at(float(distances[has.to(torch.uint8).argmax()]))

    def at(self, squared: float) -> Threshold:
        """Return the counts at the distance `squared`."""
        value = torch.tensor([squared], dtype=torch.float64, device=self.negative.device)
        counts = [
            Counts(
                int(torch.searchsorted(self.negative, value, right=right)) + self.nearer.negative,
                int(torch.searchsorted(self.positive, value, right=right)) + self.nearer.positive,
            )
            for right in (False, True)
        ]
        return Threshold(squared, *counts)


class _Bins(NamedTuple):
    """Bins of 2 ** `shift` keys each: `number` bins from the key `first` on, one more below them and one above."""

    first: int
    shift: int
    number: int

    @classmethod
    def between(cls, low: int, high: int) -> "_Bins":
        """Return at most `_BINS` bins that hold the keys from `low` to `high`."""
        shift = 0
        while (high - low) >> shift > _BINS:
            shift += 1
        return cls(low, shift, ((high - low) >> shift) + 1)

    def edge(self, place: int) -> int:
        """Return the first key of a bin. Its `place` is 0 for the bin below all others."""
        return self.first + ((place - 1) << self.shift) if place else 0

    def of(self, keys: Tensor) -> Tensor:
        """Return the number of the bin of each of `keys`, which are overwritten."""
        return keys.sub_(self.first).bitwise_right_shift_(self.shift).add_(1).clamp_(0, self.number + 1)


class _Block(NamedTuple):
    """Squared distances of some queries and some items.

    Attributes:
        values: (B, C), 0 or more.
        first_row: index of the first query.
        first_column: index of the first item.
        same: (B, C) bool, whether a pair is positive. None if all pairs are negative.
        counts: (B, C) bool, whether a pair counts: each pair once, and none of an image with itself. None if all do.
    """

    values: Tensor
    first_row: int
    first_column: int
    same: Tensor | None
    counts: Tensor | None


def _as_floats(embeddings: Tensor) -> Tensor:
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    if not can_be_ranked(embeddings):
        raise EmbeddingsNotFinite("embeddings are not finite, or too large to be compared: the training has diverged")
    return embeddings


class _Problem:
    """The pairs of `verify`, sorted by label, so that most blocks have no positive pair."""

    def __init__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        gallery: Tensor | None,
        gallery_labels: Tensor | None,
        part: Part,
        block_entries: int | None,
    ) -> None:
        self.is_symmetric, self.part = gallery is None, part
        self.labels, order = labels.sort(stable=True)
        self.queries = _as_floats(embeddings)[order]
        self.gallery, self.gallery_labels = self.queries, self.labels
        if gallery is not None and gallery_labels is not None:
            self.gallery_labels, order = gallery_labels.sort(stable=True)
            self.gallery = _as_floats(gallery)[order]
        dtype = torch.promote_types(self.queries.dtype, self.gallery.dtype)
        self.queries, self.gallery = self.queries.to(dtype), self.gallery.to(dtype)
        self.block_entries = block_entries or _BLOCK_ENTRIES[self.queries.device.type]
        # The columns of each row's class. The first of two equal numbers is that of a class the gallery lacks.
        self.class_starts = torch.searchsorted(self.gallery_labels, self.labels)
        self.class_ends = torch.searchsorted(self.gallery_labels, self.labels, right=True)

    def totals(self) -> Counts:
        """Return the numbers of pairs."""
        positive = int((self.class_ends - self.class_starts).sum())
        if not self.is_symmetric:
            return Counts(len(self.queries) * len(self.gallery) - positive, positive)
        count, positive = len(self.queries), (positive - len(self.queries)) // 2
        return Counts(count * (count - 1) // 2 - positive, positive)

    def crossings(self, targets: Sequence[Crossed], given: Sequence[Tensor]) -> list[Threshold]:
        """Return the smallest distance that has crossed each of `targets`, and the thresholds at `given` distances."""
        products = _Products(self, self.queries.dtype)
        top = products.key(products.largest)
        bins = _Bins.between(max(top - (_OCTAVES << products.mantissa_bits), 0), top)
        counts = products.counted(bins)
        wanted: list[Crossed | Tensor] = [*targets, *given]
        ranges = [_range_of(one, bins, counts, products) for one in wanted]
        settled = [one.pairs <= _MOST_EXACT for one in ranges]
        windows = iter(products.exact([one for one, fits in zip(ranges, settled, strict=True) if fits]))
        return [
            next(windows).threshold(one) if fits else self._narrowed(one, its_range, products)
            for one, its_range, fits in zip(wanted, ranges, settled, strict=True)
        ]

    def _narrowed(self, wanted: Crossed | Tensor, wide: "_Range", products: "_Products") -> Threshold:
        """Return the threshold `wanted`, which is in the range `wide` with too many pairs to compute them exactly."""
        while wide.pairs > _MOST_EXACT:
            low, high = products.key(wide.low), products.key(wide.high)
            if not wide.narrows:
                if products.dtype == torch.float64:
                    up_to = Counts(*(a + b for a, b in zip(wide.nearer, wide.within, strict=True)))
                    return Threshold(wide.low, wide.nearer, up_to)
                products = _Products(self, torch.float64)
                low, high = products.key(wide.low), products.key(wide.high)
            bins = _Bins.between(low, high)
            narrower = _range_of(wanted, bins, products.counted(bins), products)
            wide = narrower._replace(narrows=narrower.pairs < wide.pairs)
        return products.exact([wide])[0].threshold(wanted)


class _Range(NamedTuple):
    """Distances by products that may be the wanted one, the pairs nearer than `low`, and the pairs from it to `high`.

    `narrows` is whether smaller bins may hold fewer pairs.
    """

    low: float
    high: float
    nearer: Counts
    within: Counts
    narrows: bool = True

    @property
    def pairs(self) -> int:
        return sum(self.within)


def _range_of(wanted: Crossed | Tensor, bins: _Bins, counts: Tensor, products: "_Products") -> _Range:
    """Return the range of the distance `wanted`, whose ends are edges of bins, so that the pairs below it are known.

    `counts` (2, bins + 2) are the numbers of negative and of positive pairs in `bins`.
    """
    up_to = counts.cumsum(dim=1)
    if isinstance(wanted, Tensor):
        least = most = float(wanted)
    else:
        place = int(wanted(up_to[0], up_to[1]).to(torch.uint8).argmax())
        least, most = products.value(bins.edge(place)), products.value(bins.edge(place + 1))
    low, high = products.key(max(least - 2 * products.error, 0.0)), products.key(most + 2 * products.error)
    first = min(max(((low - bins.first) >> bins.shift) + 1, 0), bins.number + 1)
    behind = min(max(((high - bins.first) >> bins.shift) + 2, 1), bins.number + 2)
    below = up_to[:, first - 1] if first else up_to[:, 0] * 0
    within = up_to[:, behind - 1] - below
    high_edge = products.value(bins.edge(behind)) if behind < bins.number + 2 else math.inf
    return _Range(products.value(bins.edge(first)), high_edge, Counts(*below.tolist()), Counts(*within.tolist()))


class _Products:
    """Squared distances of the pairs of a problem by matrix products of one dtype, with the bound of their error."""

    def __init__(self, problem: _Problem, dtype: torch.dtype) -> None:
        self.problem, self.dtype = problem, dtype
        self._integer = torch.int32 if dtype == torch.float32 else torch.int64
        self.mantissa_bits = 23 if dtype == torch.float32 else 52
        queries, gallery = problem.queries.to(dtype), problem.gallery.to(dtype)
        centre = centre_of(gallery)
        self._queries = queries - centre
        self._gallery = self._queries if problem.is_symmetric else gallery - centre
        norms = [torch.linalg.vector_norm(side, dim=1) for side in (self._queries, self._gallery)]
        reach = norms[0].max() + norms[1].max()
        self._squares = [side.square().sum(dim=1) for side in (self._queries, self._gallery)]
        # The magnitudes in the sum of a product add up to at most (|q| + |g|)^2, see `near_ties.product_rounding`.
        dimensions = queries.shape[1]
        bound = 1.01 * product_error(dimensions, dtype) * float(reach) ** 2
        bound += 4 * dimensions * torch.finfo(dtype).tiny
        is_exact = all(products_are_exact(side, centre, reach) for side in (queries, gallery))
        self.error = 0.0 if is_exact else bound
        entries = problem.block_entries * 4 // queries.element_size()
        self._rows_at_once = math.isqrt(entries) // 2 + 1  # matrix products are fastest for blocks that are no strips
        self._columns_at_once = max(1, entries // self._rows_at_once)
        self.largest = 1.02 * float(reach) ** 2 + bound

    def key(self, value: float) -> int:
        """Return the integer with the bits of `value`, rounded to the dtype."""
        limit = torch.finfo(self.dtype).max
        return int(torch.tensor(min(value, limit), dtype=self.dtype).view(self._integer))

    def value(self, key: int) -> float:
        """Return the number whose bits are those of the integer `key`."""
        return float(torch.tensor(key, dtype=self._integer).view(self.dtype))

    def counted(self, bins: _Bins) -> Tensor:
        """Return the numbers of negative and of positive pairs of all ranks in `bins`, (2, bins + 2) int64."""
        size = bins.number + 2
        counts = torch.zeros(2 * size + 1, dtype=torch.int64, device=self._queries.device)  # the last: not counted
        for block in self._blocks():
            numbers = bins.of(block.values.flatten().view(self._integer))
            if block.same is not None:
                numbers.add_(block.same.flatten(), alpha=size)
            if block.counts is not None:
                numbers.masked_fill_(~block.counts.flatten(), 2 * size)
            counts += torch.bincount(numbers, minlength=2 * size + 1)
        if self.problem.part.world_size > 1:
            dist.all_reduce(counts, group=self.problem.part.group)
        return counts[:-1].view(2, size).cpu()

    def exact(self, ranges: Sequence[_Range]) -> list[_Window]:
        """Return the exact distances of the pairs within each of `ranges`, from all ranks."""
        problem = self.problem
        none = torch.zeros(0, dtype=torch.float64, device=self._queries.device)
        found: list[list[list[Tensor]]] = [[[none], [none]] for _ in ranges]
        top = max((one.high for one in ranges), default=0.0)
        for block in self._blocks() if ranges else ():
            flat = block.values.flatten()
            below = (flat < top).nonzero().squeeze(1)  # few, unless the error rates are high
            if block.counts is not None:
                below = below[block.counts.flatten()[below]]
            values = flat[below]
            same = torch.zeros_like(values, dtype=torch.bool) if block.same is None else block.same.flatten()[below]
            for one, sides in zip(ranges, found, strict=True):
                chosen = (values >= one.low) & (values < one.high)
                at, is_positive = below[chosen], same[chosen]
                if not len(at):
                    continue
                rows = at.div(block.values.shape[1], rounding_mode="floor")
                columns = at - rows * block.values.shape[1] + block.first_column
                rows += block.first_row
                distances = distances_of_pairs(problem.queries, problem.gallery, rows, columns)
                sides[0].append(distances[~is_positive])
                sides[1].append(distances[is_positive])
        windows = []
        for one, sides in zip(ranges, found, strict=True):
            negative, positive = (_gathered(torch.cat(side), problem.part) for side in sides)
            assert (len(negative), len(positive)) == one.within, "both passes must find the same products"
            windows.append(_Window(one.nearer, negative, positive))
        return windows

    def _blocks(self) -> Iterator[_Block]:
        """Yield this rank's pairs in blocks. The next block overwrites the values of a block."""
        part, rows = self.problem.part, len(self._queries)
        at_once = self._rows_at_once
        buffer = self._queries.new_empty(at_once * self._columns_at_once)
        for start in range(part.rank * at_once, rows, part.world_size * at_once):
            yield from self._blocks_of(slice(start, min(start + at_once, rows)), buffer)

    def _blocks_of(self, rows: slice, buffer: Tensor) -> Iterator[_Block]:
        """Yield the pairs of the queries `rows`, each pair once."""
        problem, count = self.problem, len(self._gallery)
        left = rows.start if problem.is_symmetric else 0
        first = max(int(problem.class_starts[rows].min()), left)
        last = max(int(problem.class_ends[rows].max()), first)
        # Between the columns `first` and `last` are those of the queries' classes.
        for low, high, is_mixed in ((left, first, False), (first, last, True), (last, count, False)):
            for start in range(low, high, self._columns_at_once):
                columns = slice(start, min(start + self._columns_at_once, high))
                values = self._block(rows, columns, buffer)
                same = problem.labels[rows, None] == problem.gallery_labels[columns] if is_mixed else None
                counts = None
                if problem.is_symmetric and columns.start < rows.stop:
                    numbers = torch.arange(max(rows.stop, columns.stop), device=values.device)
                    counts = numbers[columns] > numbers[rows, None]
                yield _Block(values, rows.start, columns.start, same, counts)

    def _block(self, rows: slice, columns: slice, buffer: Tensor) -> Tensor:
        """Return the squared distances of the queries `rows` and the items `columns`, in `buffer`."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        out = buffer[: height * width].view(height, width)
        with full_float32(out.device.type):
            torch.addmm(self._squares[1][columns], self._queries[rows], self._gallery[columns].t(), alpha=-2, out=out)
        return out.add_(self._squares[0][rows, None]).clamp_(min=0)


def _gathered(values: Tensor, part: Part) -> Tensor:
    """Return the `values` (n,) of all ranks together, ascending."""
    if part.world_size > 1:
        size = torch.tensor([len(values)], device=values.device)
        sizes = gather_without_gradient(size, [1] * part.world_size, part.group).tolist()
        values = gather_without_gradient(values, sizes, part.group)
    return values.sort().values
