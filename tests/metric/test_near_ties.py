"""Rankings equal a sort by exact distances, whatever a matrix product makes of distances that are nearly equal."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mdr_tune.metric import near_ties, ranking
from mdr_tune.metric.near_ties import (
    Rounding,
    distances_by_parts,
    product_error,
    product_rounding,
    products_are_exact,
    squared_distances,
)
from mdr_tune.metric.ranking import nearest_items
from mdr_tune.metric.retrieval import examine_queries, score_queries


def exact_distance(query: list[float], item: list[float]) -> Fraction:
    return sum(((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(query, item, strict=True)), Fraction(0))


def whole_numbers(embeddings: Tensor) -> list[list[int]]:
    return [[int(Fraction(number) * 2**1100) for number in row] for row in embeddings.tolist()]


def naive_ranking(queries: Tensor, gallery: Tensor, excludes_self: bool = False) -> Tensor:
    """Return the whole gallery of each query, sorted by exact distance, then by index."""
    rankings, all_items = [], whole_numbers(gallery)
    for number, query in enumerate(whole_numbers(queries)):
        distances = [sum((a - b) ** 2 for a, b in zip(query, item, strict=True)) for item in all_items]
        items = [item for item in range(len(gallery)) if not (excludes_self and item == number)]
        rankings.append(sorted(items, key=lambda item: (distances[item], item)))
    return torch.tensor(rankings)


def ranked(queries: Tensor, gallery: Tensor, depth: int, excludes_self: bool = False, **options: object) -> Tensor:
    blocks = nearest_items(queries, gallery, depth, slice(0, len(queries)), excludes_self, **options)  # type: ignore[arg-type]
    return torch.cat([nearest for _, nearest in blocks])


def mirrored(dimensions: int, pairs: int = 30, grid: float = 1 / 256) -> tuple[Tensor, Tensor]:
    """Return 7 queries and items in pairs that are equally far from one of them, on a grid too fine for float32."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randint(-2048, 2048, (7, dimensions), generator=generator) * grid
    of_query = torch.arange(pairs) % 7
    steps = torch.randint(-2048, 2048, (pairs, dimensions), generator=generator) * grid
    items = torch.cat([queries[of_query] + steps, queries[of_query] - steps])
    return queries, items[torch.randperm(len(items), generator=generator)]


def on_sphere(count: int, dimensions: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dimensions, generator=generator))


def nearly_equal() -> Tensor:
    """Return embeddings that differ in their last bits, as those of a collapsed model do, and copies of them."""
    noise = torch.randint(-2, 3, (60, 6), generator=torch.Generator().manual_seed(1))
    return on_sphere(1, 6) + noise * 2.0**-24


EMBEDDINGS = {
    "mirrored": torch.cat(mirrored(5)),
    "mirrored copies": torch.cat([*mirrored(4), *mirrored(4)]),
    "sphere": on_sphere(70, 9),
    "sphere and its mirror image": torch.cat([on_sphere(35, 8), -on_sphere(35, 8)]),
    "nearly equal": nearly_equal(),
    "far from the origin": on_sphere(60, 3) + 1000,
    "one number": torch.randint(99, (60, 1), generator=torch.Generator().manual_seed(2)) / 7,
    "too small to square": on_sphere(60, 3) * 1e-30,
    "a grid but for one number": torch.cat([torch.eye(8), -torch.eye(8), torch.full((1, 8), 1e-9), torch.zeros(9, 8)]),
    "a spread of the smallest numbers": torch.randint(-3, 4, (40, 5), generator=torch.Generator().manual_seed(6))
    * 1e-45,
    "whole numbers whose squares are too small": torch.arange(-30, 30)[:, None] * 2.0**-75,
    "five copies of each": on_sphere(14, 5).repeat(5, 1),
    "an outlier": torch.cat([on_sphere(60, 5), 1e4 * on_sphere(1, 5)]),
    "norms from 1e-5 to 1e5": on_sphere(60, 5) * torch.logspace(-5, 5, 60)[:, None],
    "tight clusters": (on_sphere(4, 6).repeat(15, 1) + 1e-6 * on_sphere(60, 6, seed=1)),
    "double": torch.cat([on_sphere(35, 8).double(), -on_sphere(35, 8).double()]),
}


@pytest.fixture(params=["this processor's", ("one that rounds badly", 1), ("one that rounds badly", 1000)], ids=str)
def _product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each entry of a product be off by up to a bound that is 1,000 or 10,000 times that of real kernels."""
    if request.param == "this processor's":
        return
    product, by_parts, generator = ranking._distances, distances_by_parts, torch.Generator().manual_seed(3)

    def many_times(dimensions: int, dtype: torch.dtype) -> float:
        return (1e4 if dtype == torch.float32 else 1e3) * product_error(dimensions, dtype)

    def noise(like: Tensor) -> Tensor:
        return 2 * torch.rand(like.shape, generator=generator) - 1

    def rounds_badly(queries: Tensor, prepared: ranking._Prepared, buffer: Tensor) -> Tensor:
        out = product(queries, prepared, buffer)
        norms, of_items = (torch.linalg.vector_norm(some, dim=1) for some in (queries, prepared.centred))
        wrong_by = 0.9 * many_times(queries.shape[1], out.dtype) * (norms[:, None] + of_items).square()
        return out.add_(wrong_by * noise(out))

    def parts_round_badly(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Rounding]:
        distances, rounding = by_parts(queries, gallery)
        return distances + 0.9 * rounding.absolute * noise(distances), rounding

    monkeypatch.setattr(near_ties, "product_error", many_times)
    monkeypatch.setattr(near_ties, "distances_by_parts", parts_round_badly)
    monkeypatch.setattr(near_ties, "_ITEMS_PER_DIFFERENCE", request.param[1])
    monkeypatch.setattr(ranking, "products_are_exact", lambda *_: False)
    monkeypatch.setattr(ranking, "_distances", rounds_badly)


@pytest.mark.usefixtures("_product")
@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_items_are_ranked_by_their_exact_distances(kind: str) -> None:
    items = EMBEDDINGS[kind]
    expected = naive_ranking(items, items, excludes_self=True)
    for depth, block_size in ((1, None), (3, 1), (3, 13), (len(items) - 1, None), (len(items) - 1, 13)):
        found = ranked(items, items, depth, excludes_self=True, block_size=block_size)
        assert torch.equal(found, expected[:, :depth])


@pytest.mark.usefixtures("_product")
@pytest.mark.parametrize("dimensions", [1, 4, 16, 33])
def test_mirror_images_tie(dimensions: int) -> None:
    queries, gallery = mirrored(dimensions)
    expected = naive_ranking(queries, gallery)
    assert torch.equal(ranked(queries, gallery, len(gallery)), expected)
    distances = squared_distances(queries[:1].expand(len(gallery), -1), gallery[expected[0]])
    assert (distances.diff() == 0).any()


@pytest.mark.usefixtures("_product")
@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_the_first_k_are_the_nearest_for_each_cutoff(kind: str) -> None:
    items = EMBEDDINGS[kind]
    expected = naive_ranking(items, items)
    for cutoffs in ([1], [2, 20], [1, 2, 3, 9, 24]):
        found = ranked(items, items, 24, cutoffs=cutoffs)
        for k in (*cutoffs, 24):
            assert torch.equal(found[:, :k].sort(dim=1).values, expected[:, :k].sort(dim=1).values)


@pytest.mark.usefixtures("_product")
def test_many_equally_near_items_are_all_looked_at() -> None:
    """Of 300 items at one distance the first are found, however few of them the product puts first."""
    generator = torch.Generator().manual_seed(4)
    signs = torch.randint(2, (300, 40), generator=generator) * 2 - 1
    gallery = torch.cat([signs, -signs]) / 3.0
    assert ranked(torch.zeros(2, 40), gallery, 5).tolist() == 2 * [[0, 1, 2, 3, 4]]


@pytest.mark.usefixtures("_product")
def test_sums_of_scores_do_not_depend_on_the_block() -> None:
    items = torch.cat([on_sphere(90, 6), -on_sphere(90, 6)]).half()
    labels = torch.arange(180) % 11
    expected = score_queries(items, labels, (1, 2, 50))
    for block_size in (3, 64):
        sums = score_queries(items, labels, (1, 2, 50), block_size=block_size)
        assert sums.tolist() == pytest.approx(expected.tolist(), rel=1e-14)  # float64 sums, in another order


@pytest.mark.usefixtures("_product")
@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_sums_of_scores_are_those_of_the_whole_order(kind: str) -> None:
    items = EMBEDDINGS[kind]
    for classes in (2, 9):
        labels = torch.arange(len(items)) % classes
        expected, _ = examine_queries(items, labels, (1, 3, 20))
        assert torch.equal(score_queries(items, labels, (1, 3, 20)), expected)


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_distances_by_parts_are_wrong_by_no_more_than_they_say(kind: str) -> None:
    items = EMBEDDINGS[kind]
    distances, (absolute, relative) = distances_by_parts(items[:6], items)
    for query, computed, bound in zip(items[:6].tolist(), distances.tolist(), absolute.flatten().tolist(), strict=True):
        for item, value in zip(items.tolist(), computed, strict=True):
            assert abs(Fraction(value) - exact_distance(query, item)) <= Fraction(bound + relative * value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dimensions", [1, 2, 17, 512])
def test_a_product_is_wrong_by_no_more_than_the_bound(dimensions: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    queries, items = (torch.randn(50, dimensions, generator=generator, dtype=dtype) for _ in range(2))
    absolute, relative = product_rounding(torch.linalg.vector_norm(queries, dim=1), dimensions)
    product = items.square().sum(dim=1) - 2 * queries @ items.t()
    one_by_one = (items.square() - 2 * queries[:, None] * items).cumsum(dim=2)[:, :, -1]
    for some in range(3):
        shift = exact_distance(queries[some].tolist(), [0.0] * dimensions)
        for other in range(3):
            value = exact_distance(queries[some].tolist(), items[other].tolist()) - shift
            for computed in (product[some, other].item(), one_by_one[some, other].item()):
                assert abs(Fraction(computed) - value) <= Fraction(absolute[some].item() + relative * computed)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 7, 64, 129])
def test_squared_distances_are_those_of_the_differences(dimensions: int) -> None:
    queries, items = on_sphere(20, dimensions), on_sphere(20, dimensions, seed=1)
    naive = [float(exact_distance(a, b)) for a, b in zip(queries.tolist(), items.tolist(), strict=True)]
    assert squared_distances(queries, items).tolist() == pytest.approx(naive, rel=1e-14)
    assert torch.equal(squared_distances(queries, items), squared_distances(items, queries))


def test_grids_that_are_coarse_enough_have_exact_products() -> None:
    zero, reach = torch.zeros(4), torch.tensor(100.0)
    assert products_are_exact(torch.tensor([[1.0, -50, 7, 0]]), zero, reach)
    assert products_are_exact(torch.tensor([[1 / 32, 0, 0, 0]]), zero, reach)
    assert not products_are_exact(torch.tensor([[1 / 64, 0, 0, 0]]), zero, reach)
    assert not products_are_exact(torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 1e-9]]), zero, reach)
    assert not products_are_exact(torch.tensor([[1.0, 0, 0, 0]]), torch.full((4,), 1e-3), reach)
    assert not products_are_exact(torch.tensor([[2.0**-75, 0, 0, 0]]), zero, torch.tensor(2.0**-74))


def clusters(spread: float) -> Tensor:
    """Return 1,200 items around 6 points."""
    return on_sphere(6, 64).repeat(200, 1) + spread * on_sphere(1200, 64, seed=1)


@pytest.mark.parametrize(
    "items",
    [
        on_sphere(1200, 64),
        torch.cat([on_sphere(1200, 64), 1e4 * on_sphere(3, 64)]),
        on_sphere(1200, 64) * torch.randn(1200, 1, generator=torch.Generator().manual_seed(7)).exp(),
        clusters(0.1),
        clusters(1e-3),
        clusters(1e-6),
    ],
    ids=["sphere", "outliers", "norms of all sizes", "clusters", "tight clusters", "collapsed clusters"],
)
def test_nearly_all_distances_are_left_to_products(items: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counting(queries: Tensor, items: Tensor) -> Tensor:
        compared.append(len(queries))
        return squared_distances(queries, items)

    monkeypatch.setattr(near_ties, "squared_distances", counting)
    ranked(items, items, 8, excludes_self=True)
    assert sum(compared) < len(items) * 8


def test_items_of_one_kind_are_not_put_in_order_for_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    items, by_parts = clusters(1e-3), []
    monkeypatch.setattr(
        near_ties, "distances_by_parts", lambda *some: by_parts.append(some) or distances_by_parts(*some)
    )
    labels = torch.arange(len(items)) % 6
    sums = score_queries(items, labels, (1, 8))
    assert not by_parts
    assert torch.equal(sums, examine_queries(items, labels, (1, 8))[0])
    assert by_parts
