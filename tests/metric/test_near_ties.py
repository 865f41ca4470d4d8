"""Rankings equal a sort by exact distances, whatever a matrix product makes of distances that are nearly equal."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mdr_tune.metric import near_ties, ranking
from mdr_tune.metric.near_ties import product_rounding, products_are_exact, squared_distances
from mdr_tune.metric.ranking import nearest_items
from mdr_tune.metric.retrieval import score_queries


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
    "double": torch.cat([on_sphere(35, 8).double(), -on_sphere(35, 8).double()]),
}


@pytest.fixture(params=["this processor's", "one that rounds badly"])
def _product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each entry of a product be off by up to a bound that is 10,000 times that of real kernels."""
    if request.param == "this processor's":
        return
    bound, product, generator = product_rounding, ranking._distances, torch.Generator().manual_seed(3)

    def ten_thousandfold(query_norms: Tensor, largest_norm: Tensor, dimensions: int) -> Tensor:
        return 1e4 * bound(query_norms, largest_norm, dimensions)

    def rounds_badly(queries: Tensor, prepared: ranking._Prepared, buffer: Tensor) -> Tensor:
        out = product(queries, prepared, buffer)
        norms = torch.linalg.vector_norm(queries, dim=1)
        wrong_by = 0.9 * ten_thousandfold(norms, prepared.squared_norms.max().sqrt(), queries.shape[1])
        return out.add_(wrong_by[:, None] * (2 * torch.rand(out.shape, generator=generator) - 1))

    monkeypatch.setattr(ranking, "product_rounding", ten_thousandfold)
    monkeypatch.setattr(ranking, "products_are_exact", lambda *_: False)
    monkeypatch.setattr(ranking, "_distances", rounds_badly)


@pytest.mark.usefixtures("_product")
@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_items_are_ranked_by_their_exact_distances(kind: str) -> None:
    items = EMBEDDINGS[kind]
    expected = naive_ranking(items, items, excludes_self=True)
    for depth in (1, 3, len(items) - 1):
        for block_size in (None, 1, 13):
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
    for block_size in (1, 7, 64):
        sums = score_queries(items, labels, (1, 2, 50), block_size=block_size)
        assert sums.tolist() == pytest.approx(expected.tolist(), rel=1e-14)  # float64 sums, in another order


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dimensions", [1, 2, 17, 512])
def test_a_product_is_wrong_by_no_more_than_the_bound(dimensions: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    queries, items = (torch.randn(50, dimensions, generator=generator, dtype=dtype) for _ in range(2))
    norms = torch.linalg.vector_norm(items, dim=1)
    bound = product_rounding(torch.linalg.vector_norm(queries, dim=1), norms.max(), dimensions)
    product = items.square().sum(dim=1) - 2 * queries @ items.t()
    one_by_one = (items.square() - 2 * queries[:, None] * items).cumsum(dim=2)[:, :, -1]
    for some in range(3):
        shift = exact_distance(queries[some].tolist(), [0.0] * dimensions)
        for other in range(3):
            value = exact_distance(queries[some].tolist(), items[other].tolist()) - shift
            assert abs(Fraction(product[some, other].item()) - value) <= Fraction(bound[some].item())
            assert abs(Fraction(one_by_one[some, other].item()) - value) <= Fraction(bound[some].item())


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


def test_nearly_all_distances_are_left_to_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counting(queries: Tensor, items: Tensor) -> Tensor:
        compared.append(len(queries))
        return squared_distances(queries, items)

    monkeypatch.setattr(near_ties, "squared_distances", counting)
    items = on_sphere(3000, 64)
    ranked(items, items, 8, excludes_self=True)
    assert 0 < sum(compared) < 3000 * 8 / 4
