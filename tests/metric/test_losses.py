import math

import pytest
import torch

from mdr_tune.metric import TripletLoss


def test_equals_a_naive_loop():
    embeddings = torch.rand(6, 3, dtype=torch.float64)
    points = embeddings.tolist()
    triplets = [(0, 1, 2), (3, 4, 5), (1, 0, 5), (2, 2, 3)]

    def distance(i, j):
        return math.sqrt(sum((a - b + 1e-6) ** 2 for a, b in zip(points[i], points[j], strict=True)))

    expected = sum(max(0.0, distance(a, p) - distance(a, n) + 0.3) for a, p, n in triplets) / len(triplets)
    value = TripletLoss(margin=0.3)(embeddings, *torch.tensor(triplets).t())
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_no_triplets_are_a_zero_with_a_gradient():
    embeddings = torch.rand(4, 2, requires_grad=True)
    nothing = torch.empty(0, dtype=torch.int64)
    value = TripletLoss()(embeddings, nothing, nothing, nothing)
    value.backward()
    assert value == 0
    assert torch.equal(embeddings.grad, torch.zeros(4, 2))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="margin must be"):
        TripletLoss(margin=-0.1)
    with pytest.raises(ValueError, match="margin must be"):
        TripletLoss(margin=math.nan)
    two, three = torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="one shape"):
        TripletLoss()(torch.rand(4, 2), two, two, three)
