from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mdr_tune.metric.ranking import distinct_rows, nearest_items


@pytest.fixture(params=[1, 2])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def whole_numbers(count: int, seed: int, most: int = 2) -> Tensor:
    """Return (count, 3) of whole numbers from 0 to `most`: exact distances, most of them equal to others."""
    return torch.randint(most + 1, (count, 3), generator=torch.Generator().manual_seed(seed)).float()


def naive_ranking(query: Tensor, gallery: Tensor, left_out: int | None) -> list[int]:
    def squared_distance(item: int) -> int:
        return sum((int(a) - int(b)) ** 2 for a, b in zip(query.tolist(), gallery[item].tolist(), strict=True))

    return sorted((i for i in range(len(gallery)) if i != left_out), key=lambda i: (squared_distance(i), i))


def ranked(
    queries: Tensor, gallery: Tensor, depth: int, excludes_self: bool = False, block_size: int | None = None
) -> Tensor:
    blocks = list(nearest_items(queries, gallery, depth, slice(0, len(queries)), excludes_self, block_size))
    assert [row for block, _ in blocks for row in range(block.start, block.stop)] == list(range(len(queries)))
    return torch.cat([nearest for _, nearest in blocks])


@pytest.mark.parametrize("block_size", [None, 1, 7, 100])
@pytest.mark.parametrize("depth", [1, 2, 9, 36])
def test_equals_a_naive_sort_with_ties_each_other(depth: int, block_size: int | None) -> None:
    items = whole_numbers(37, seed=0)
    expected = [naive_ranking(query, items, left_out=i)[:depth] for i, query in enumerate(items)]
    assert ranked(items, items, depth, True, block_size).tolist() == expected


@pytest.mark.parametrize("most", [0, 2, 1000])  # all the same, many ties, hardly any
@pytest.mark.parametrize("depth", [1, 9, 37])
def test_equals_a_naive_sort_with_ties_of_a_gallery(depth: int, most: int) -> None:
    queries, gallery = whole_numbers(11, seed=1, most=most), whole_numbers(37, seed=2, most=most)
    expected = [naive_ranking(query, gallery, left_out=None)[:depth] for query in queries]
    assert ranked(queries, gallery, depth, block_size=4).tolist() == expected


def test_rows_are_the_rows_of_the_whole() -> None:
    items = whole_numbers(20, seed=3)
    whole = ranked(items, items, 4, excludes_self=True)
    (block, nearest), (last_block, last) = nearest_items(items, items, 4, slice(5, 10), True, block_size=3)
    assert (block, last_block) == (slice(5, 8), slice(8, 10))
    assert torch.equal(torch.cat([nearest, last]), whole[5:10])
    assert list(nearest_items(items, items, 4, slice(5, 5), True)) == []


def copies(count: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """Return embeddings (count, dimensions), most of them several times, and which of the different ones each is."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(count // 3, (count,), generator=generator)
    return torch.randn(count, dimensions, generator=generator)[source], source


def check_that_copies_tie(nearest: Tensor, source: Tensor) -> None:
    same_as_next = source[nearest[:, :-1]] == source[nearest[:, 1:]]
    ascending = nearest[:, :-1] < nearest[:, 1:]
    assert same_as_next.sum() > 300
    assert ascending[same_as_next].all()


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("block_size", [1, 2, 33])
@pytest.mark.parametrize(("count", "dimensions"), [(37, 5), (601, 5), (5003, 5), (5003, 128)])
def test_copies_of_an_embedding_tie_wherever_they_are(count: int, dimensions: int, block_size: int) -> None:
    gallery, source = copies(count, dimensions)
    check_that_copies_tie(ranked(gallery[:33], gallery, depth=30, block_size=block_size), source)


@pytest.mark.parametrize("excludes_self", [False, True])
def test_copies_tie_with_a_product_that_rounds_by_place(monkeypatch: pytest.MonkeyPatch, excludes_self: bool) -> None:
    """Stands in for the kernels of other processors: each entry of the product has an error of its own."""
    product, generator = torch.addmm, torch.Generator().manual_seed(1)

    def rounds_by_place(*arguments: Tensor, out: Tensor, **options: float) -> Tensor:
        product(*arguments, out=out, **options)
        return out.mul_(1 + 1e-6 * torch.randn(out.shape, generator=generator))

    monkeypatch.setattr(torch, "addmm", rounds_by_place)
    gallery, source = copies(601, 5)
    check_that_copies_tie(ranked(gallery, gallery, 30, excludes_self, block_size=33), source)


@pytest.mark.parametrize("agreeing", [0, 1, 63])
def test_embeddings_that_agree_in_most_numbers_are_no_copies(agreeing: int) -> None:
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(50, 64, generator=generator)
    gallery[:, 1 : agreeing + 1] = 0.25
    copied = torch.cat([gallery, gallery[:9], -0.0 * gallery[:2], 0.0 * gallery[:1]])
    distinct, which = distinct_rows(copied)
    assert distinct.tolist() == [*range(50), 59]
    assert which.tolist() == [*range(50), *range(9), 50, 50, 50]


@pytest.mark.gpu
@pytest.mark.parametrize("block_size", [None, 7])
def test_a_gpu_ranks_as_a_cpu_does(block_size: int | None) -> None:
    items = whole_numbers(601, seed=4, most=9)
    on_cpu = ranked(items, items, 40, excludes_self=True)
    assert torch.equal(ranked(items.cuda(), items.cuda(), 40, True, block_size).cpu(), on_cpu)
