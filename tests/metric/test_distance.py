import math

import pytest
import torch

from mdr_tune.metric import pairwise_distances


def test_equals_a_naive_loop():
    embeddings = torch.rand(7, 5, dtype=torch.float64)
    distances = pairwise_distances(embeddings)
    squared = pairwise_distances(embeddings, squared=True)
    for i in range(7):
        for j in range(7):
            expected = sum((a - b) ** 2 for a, b in zip(embeddings[i].tolist(), embeddings[j].tolist(), strict=True))
            assert squared[i, j].item() == pytest.approx(expected, rel=1e-12)
            assert distances[i, j].item() == pytest.approx(math.sqrt(expected), rel=1e-12)


def test_duplicates_are_clamped_and_have_no_gradient():
    embeddings = torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    distances = pairwise_distances(embeddings)
    distances.sum().backward()
    assert distances.tolist() == [[0.0, 1e-6], [1e-6, 0.0]]
    assert embeddings.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_gradient_is_right():
    embeddings = torch.rand(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pairwise_distances, (embeddings,))


@pytest.mark.parametrize("wrong", [torch.rand(3), torch.rand(2, 3, 4), torch.ones(3, 2, dtype=torch.int64)])
def test_wrong_shapes_and_types_are_refused(wrong):
    with pytest.raises(ValueError, match=r"shape \(N, D\)"):
        pairwise_distances(wrong)
