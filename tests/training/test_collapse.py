"""When embeddings have collapsed: against a naive loop, at what networks start with, and at what must not pass."""

import itertools
import math

import pytest
import torch

from mdr_tune.metric import EmbeddingMode
from mdr_tune.training.collapse import distance_moments, is_collapsed

PRECISIONS = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("mode", ["rescale", "l2", "none"])
def test_the_moments_are_those_of_a_loop_over_all_pairs(mode: EmbeddingMode) -> None:
    embeddings = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) + 3
    rows = [[float(value) for value in row] for row in embeddings]
    if mode == "l2":
        rows = [[value / math.hypot(*row) for value in row] for row in rows]
    distances = [math.dist(one, other) for one, other in itertools.combinations(rows, 2)]
    mean = sum(distances) / len(distances)
    std = math.sqrt(sum((distance - mean) ** 2 for distance in distances) / len(distances))
    norm = math.sqrt(sum(math.hypot(*row) ** 2 for row in rows) / len(rows))
    assert distance_moments(embeddings, mode) == pytest.approx((mean, std, norm), rel=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [2, 128, 512, 2048])
@pytest.mark.parametrize("mode", ["rescale", "l2", "none"])
def test_random_embeddings_of_any_size_have_not_collapsed(
    precision: torch.dtype, size: int, mode: EmbeddingMode
) -> None:
    """Independent coordinates, whose distances are as equal as they get without being one."""
    embeddings = torch.randn(64, size, generator=torch.Generator().manual_seed(0)).to(precision).float()
    assert not is_collapsed(*distance_moments(embeddings, mode), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mode", ["rescale", "l2", "none"])
def test_one_point_has_collapsed_also_if_rounding_blurs_it(precision: torch.dtype, mode: EmbeddingMode) -> None:
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(512, generator=generator)
    assert is_collapsed(*distance_moments(point.expand(32, 512), mode), precision)
    spread = 1e-3 * torch.finfo(precision).eps
    blurred = (point * (1 + spread * torch.randn(32, 512, generator=generator))).to(precision).float()
    assert is_collapsed(*distance_moments(blurred, mode), precision)
    assert is_collapsed(*distance_moments(torch.zeros(8, 4), mode), precision)


def test_points_that_are_all_equally_far_apart_have_collapsed() -> None:
    corners = torch.eye(16) * 5
    mean, std, norm = distance_moments(corners, "none")
    assert mean == pytest.approx(5 * math.sqrt(2))
    assert is_collapsed(mean, std, norm, torch.float32)


def test_two_points_have_not() -> None:
    """All images of a class on one point, another class on another: an end that some losses lead to, and a good one."""
    embeddings = torch.tensor([[0.0, 1.0]] * 4 + [[1.0, 0.0]] * 4)
    assert not is_collapsed(*distance_moments(embeddings, "l2"), torch.float32)
