import pytest
import torch

from mdr_tune.metric import pairwise_distances
from mdr_tune.metric.distance_tiles import distance_tiles, tile_statistics


@pytest.mark.parametrize("tile_rows", [1, 4, 10, 11, 64])
def test_tiles_cover_the_upper_half(tile_rows):
    embeddings = torch.rand(11, 6, dtype=torch.float64)
    matrix = torch.zeros(11, 11, dtype=torch.float64)
    entries = 0
    for tile in distance_tiles(embeddings, tile_rows):
        matrix[tile.rows, tile.columns] = tile.distances
        entries += tile.weight * tile.distances.numel()
    expected = pairwise_distances(embeddings)
    assert entries == 11 * 11
    torch.testing.assert_close(matrix.triu(), expected.triu(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tile_rows", [1, 4, 10, 11, 64])
def test_statistics_equal_those_of_the_matrix(tile_rows):
    embeddings = torch.rand(11, 6, dtype=torch.float64)
    matrix = pairwise_distances(embeddings)
    off_diagonal = matrix[~torch.eye(11, dtype=torch.bool)]
    for statistics, entries in (("official", matrix), ("offdiagonal", off_diagonal)):
        mean, std = tile_statistics(distance_tiles(embeddings, tile_rows), statistics)
        torch.testing.assert_close((mean, std), (entries.mean(), entries.std()), rtol=1e-12, atol=0)


@pytest.mark.parametrize("statistics", ["official", "offdiagonal"])
def test_nothing_is_lost_to_cancellation(statistics):
    embeddings = 0.01 * torch.rand(40, 64) + 3 * torch.eye(64)[:40]  # distances that differ by 0.1 % only
    matrix = pairwise_distances(embeddings.double())
    entries = matrix if statistics == "official" else matrix[~torch.eye(40, dtype=torch.bool)]
    for tile_rows in (7, 40):
        mean, std = tile_statistics(distance_tiles(embeddings, tile_rows), statistics)
        assert mean.item() == pytest.approx(entries.mean().item(), rel=1e-6)
        assert std.item() == pytest.approx(entries.std().item(), rel=1e-4)
