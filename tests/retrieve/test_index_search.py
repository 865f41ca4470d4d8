"""The search in blocks equals a whole matrix of distances."""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from mdr_tune.retrieve import SearchResult, search_index
from mdr_tune.retrieve.nearest import Backend, choose_backend
from mdr_tune.util.errors import UserError
from tests.retrieve.make import write

HAS_FAISS = importlib.util.find_spec("faiss") is not None
BACKENDS: list[object] = ["exact", pytest.param("faiss", marks=pytest.mark.skipif(not HAS_FAISS, reason="no FAISS"))]


def naive(
    embeddings: torch.Tensor, queries: torch.Tensor, top: int, exclude: list[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and distances, by the whole matrix in float64; equal distances by row."""
    differences = queries.numpy().astype(np.float64)[:, None] - embeddings.numpy().astype(np.float64)[None]
    distances = np.sqrt((differences**2).sum(axis=2))
    for query, row in enumerate(exclude or []):
        if row >= 0:
            distances[query, row] = np.inf
    rows = np.argsort(distances, axis=1, kind="stable")[:, :top]
    found = np.take_along_axis(distances, rows, axis=1)
    return np.where(np.isinf(found), -1, rows), found


def same(found: SearchResult, expected: tuple[np.ndarray, np.ndarray]) -> None:
    assert found.rows.tolist() == expected[0].tolist()
    np.testing.assert_allclose(found.distances.numpy(), expected[1].astype(np.float32), rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block_rows", [3, 50, None])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_blocks_equal_the_whole_matrix(tmp_path: Path, backend: Backend, block_rows: int | None, offset: float) -> None:
    """Far from the origin too, where products in float32 lose the small differences."""
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(201, 16, generator=generator) + offset
    queries = torch.cat([embeddings[[5, 200]], torch.randn(9, 16, generator=generator) + offset])
    index = write(tmp_path / "e.parquet", embeddings)
    found = search_index(index, queries, 12, backend=backend, block_rows=block_rows)
    same(found, naive(embeddings, queries, 12))
    assert found.backend == backend
    assert found.rows[:2, 0].tolist() == [5, 200]
    assert found.distances[:2, 0].tolist() == [0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_query_itself_is_left_out(tmp_path: Path, backend: Backend) -> None:
    embeddings = torch.randn(40, 8, generator=torch.Generator().manual_seed(2))
    exclude = [*range(39), -1]
    found = search_index(
        write(tmp_path / "e.parquet", embeddings),
        embeddings,
        5,
        exclude=torch.tensor(exclude),
        backend=backend,
        block_rows=7,
    )
    same(found, naive(embeddings, embeddings, 5, exclude))
    assert found.rows[39, 0] == 39


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block_rows", [11, None])
def test_equal_distances_come_in_the_order_of_the_rows(
    tmp_path: Path, backend: Backend, block_rows: int | None
) -> None:
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(7, 5, generator=generator)[torch.randint(0, 7, (300,), generator=generator)]
    index = write(tmp_path / "e.parquet", embeddings)
    found = search_index(index, embeddings[:40], 90, backend=backend, block_rows=block_rows)
    same(found, naive(embeddings, embeddings[:40], 90))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grid", [1, 1 / 256, 1 / 65536])  # exact in float32, not so, not even its differences' squares
@pytest.mark.parametrize("most", [3, 2049])  # 27 different ones, and as good as no copies
@pytest.mark.parametrize("block_rows", [11, None])
def test_equal_distances_to_different_embeddings_come_in_the_order_of_the_rows(
    tmp_path: Path, backend: Backend, grid: float, most: int, block_rows: int | None
) -> None:
    generator = torch.Generator().manual_seed(3)
    queries = torch.randint(0, most, (20, 3), generator=generator) * grid
    steps = torch.randint(0, most, (150, 3), generator=generator) * grid
    mirrored = torch.cat([queries[torch.arange(150) % 20] + sign * steps for sign in (1, -1)])
    index = write(tmp_path / "e.parquet", mirrored)
    for top in (1, 3, 30):
        found = search_index(index, queries, top, backend=backend, block_rows=block_rows)
        same(found, naive(mirrored, queries, top))


@pytest.mark.parametrize("backend", BACKENDS)
def test_distances_whose_roots_are_equal_are_not(tmp_path: Path, backend: Backend) -> None:
    index = write(tmp_path / "e.parquet", torch.tensor([[1, 2.0**-26], [1, 0]]))
    assert search_index(index, torch.zeros(1, 2), backend=backend).rows.tolist() == [[1, 0]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [2.0**-146, 2.0**-75, 2.0**56])
@pytest.mark.parametrize("block_rows", [4, None])
def test_small_and_large_numbers(tmp_path: Path, backend: Backend, scale: float, block_rows: int | None) -> None:
    embeddings = torch.randn(30, 6, generator=torch.Generator().manual_seed(4)) * scale
    index = write(tmp_path / "e.parquet", embeddings)
    found = search_index(index, embeddings, 30, backend=backend, block_rows=block_rows)
    assert found.rows.tolist() == naive(embeddings.double() / scale, embeddings.double() / scale, 30)[0].tolist()


def test_more_than_there_are(tmp_path: Path) -> None:
    embeddings = torch.randn(4, 3)
    index = write(tmp_path / "e.parquet", embeddings)
    assert search_index(index, embeddings[:1], 10).rows.shape == (1, 4)
    found = search_index(index, embeddings[:2], 10, exclude=torch.tensor([0, -1]))
    same(found, naive(embeddings, embeddings[:2], 10, [0, -1]))
    assert found.rows[0, -1] == -1


def test_memory_is_that_of_blocks(tmp_path: Path) -> None:
    embeddings = torch.randn(60_000, 32)  # 7.7 MB
    with_one_group = write(tmp_path / "e.parquet", embeddings)
    pool = pa.default_memory_pool()
    held, most = pool.bytes_allocated(), 0
    for _, block in with_one_group.blocks(1000):
        most = max(most, pool.bytes_allocated() - held)
        assert len(block) <= 1000
    assert most < 60_000 * 32 * 4 / 3


def test_wrong_arguments(tmp_path: Path) -> None:
    index = write(tmp_path / "e.parquet", torch.randn(4, 3))
    with pytest.raises(ValueError, match=r"\(Q, 3\)"):
        search_index(index, torch.randn(2, 4))
    with pytest.raises(ValueError, match="finite"):
        search_index(index, torch.full((1, 3), torch.nan))
    with pytest.raises(ValueError, match="finite"):
        search_index(index, torch.full((1, 3), 1e25))
    with pytest.raises(UserError, match="embeddings that are not finite, or too large"):
        search_index(write(tmp_path / "large.parquet", torch.full((2, 3), 1e25)), torch.randn(1, 3))
    with pytest.raises(ValueError, match="top must be"):
        search_index(index, torch.randn(1, 3), 0)
    with pytest.raises(ValueError, match="exclude must be"):
        search_index(index, torch.randn(2, 3), exclude=torch.tensor([1]))


def test_which_backend() -> None:
    assert choose_backend("exact", 10**9) == "exact"
    assert choose_backend("auto", 10) == "exact"
    assert choose_backend("auto", 10**9) == ("faiss" if HAS_FAISS else "exact")
    if not HAS_FAISS:
        with pytest.raises(UserError, match="pip install faiss-cpu"):
            choose_backend("faiss", 10)
