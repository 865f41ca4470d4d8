import math

import pytest
import torch

from mdr_tune.metric import Pairs, TripletLoss, Triplets, triplet_margin_loss
from mdr_tune.metric.triplet import _many_triplets, _TripletMargin
from tests.pretended_gpu import pretended_gpu


def naive_loss(embeddings, triplets, margin):
    points = embeddings.tolist()

    def distance(i, j):
        return math.sqrt(sum((a - b + 1e-6) ** 2 for a, b in zip(points[i], points[j], strict=True)))

    return sum(max(0.0, distance(a, p) - distance(a, n) + margin) for a, p, n in triplets) / len(triplets)


def test_equals_a_naive_loop():
    embeddings = torch.rand(6, 3, dtype=torch.float64)
    triplets = [(0, 1, 2), (3, 4, 5), (1, 0, 5), (2, 2, 3)]
    value = triplet_margin_loss(embeddings, *torch.tensor(triplets).t(), margin=0.3)
    assert value.item() == pytest.approx(naive_loss(embeddings, triplets, 0.3), rel=1e-12)


def test_value_and_gradient_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(20, 6, generator=generator, dtype=torch.float64).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    triplets = torch.randint(20, (3, 50), generator=generator)
    triplets[:, 0] = torch.tensor([3, 3 + 1, 3 + 2])
    with torch.no_grad():
        for embeddings in (ours, theirs):
            embeddings[3], embeddings[4] = 0, 1e-6  # with the epsilon added their distance is exactly 0
    value = triplet_margin_loss(ours, *triplets, margin=0.4)
    expected = torch.nn.functional.triplet_margin_loss(*(theirs[indices] for indices in triplets), margin=0.4)
    (3 * value).backward()
    (3 * expected).backward()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_that_of_differences():
    embeddings = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    triplets = torch.tensor([(0, 1, 2), (3, 4, 5), (1, 0, 5), (0, 2, 3)]).t()
    assert torch.autograd.gradcheck(lambda e: triplet_margin_loss(e, *triplets, margin=0.9), embeddings)


def test_blocks_change_nothing(monkeypatch):
    embeddings, triplets = torch.rand(9, 3), torch.randint(9, (3, 50))
    whole = triplet_margin_loss(embeddings, *triplets, margin=0.3)
    monkeypatch.setattr("mdr_tune.metric.triplet._BLOCK_ELEMENTS_CPU", 7 * 3)  # 7 blocks of 7 triplets, and one of 1
    assert torch.equal(triplet_margin_loss(embeddings, *triplets, margin=0.3), whole)


def test_it_can_be_differentiated_again_by_the_same_graph():
    embeddings = torch.rand(9, 3, requires_grad=True)
    value = triplet_margin_loss(embeddings, *torch.randint(9, (3, 50)), margin=0.3)
    (first,) = torch.autograd.grad(value, embeddings, retain_graph=True)
    (second,) = torch.autograd.grad(value, embeddings)
    assert torch.equal(first, second)


def test_autocast_around_the_backward_changes_nothing():
    embeddings, triplets = torch.rand(40, 64, requires_grad=True), torch.randint(40, (3, 50))
    value = triplet_margin_loss(embeddings, *triplets, margin=0.3)
    (expected,) = torch.autograd.grad(value, embeddings, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        (gradient,) = torch.autograd.grad(value, embeddings)
    assert torch.equal(gradient, expected)


def test_all_triplets_equal_a_naive_loop():
    embeddings = torch.rand(9, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 1, 2, 3])
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    triplets = [(a, p, n) for a, p in pairs for n in range(9) if labels[a] == labels[p] and labels[a] != labels[n]]
    value = TripletLoss(0.3)(embeddings, labels, None, torch.Generator())
    assert len(triplets) > 9 * 9  # so it looks distances up
    assert value.item() == pytest.approx(naive_loss(embeddings, triplets, 0.3), rel=1e-12)


def test_pairs_are_joined_at_their_anchor():
    embeddings = torch.rand(6, 3, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    pairs = Pairs(*(torch.tensor(indices) for indices in ([0, 0, 3], [1, 2, 4], [0, 0, 5], [3, 5, 0])))
    triplets = [(0, 1, 3), (0, 1, 5), (0, 2, 3), (0, 2, 5)]
    value = TripletLoss(0.3)(embeddings, labels, pairs, torch.Generator())
    assert value.item() == pytest.approx(naive_loss(embeddings, triplets, 0.3), rel=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_many_triplets_are_the_same_as_few(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    embeddings = 3 * torch.rand(8, 5, generator=generator, dtype=dtype)
    embeddings[3] = embeddings[2] + 1e-4  # near duplicates
    anchors, positives, negatives = torch.randint(8, (3, 60), generator=generator)
    leaf, other_leaf = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    value = triplet_margin_loss(leaf, anchors, positives, negatives, 0.2)
    other = _many_triplets(other_leaf, anchors, positives, negatives, 0.2, other_leaf)
    value.backward()
    other.backward()
    torch.testing.assert_close(value, other, rtol=tolerance, atol=tolerance)
    apart = positives != anchors  # a point's distance to itself is all epsilon
    assert apart.any()
    rows = [i for i in range(8) if i not in anchors[~apart].tolist() + anchors[negatives == anchors].tolist()]
    torch.testing.assert_close(leaf.grad[rows], other_leaf.grad[rows], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_a_gpu_has_the_same_gradient_of_many_triplets_without_that_of_cdist(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.rand(12, 5, generator=generator, dtype=dtype)
    embeddings[3] = embeddings[2] + 1e-3
    labels = torch.arange(12) // 4
    leaf = embeddings.clone().requires_grad_()
    value = TripletLoss(0.3)(leaf, labels, None, torch.Generator())
    (3 * value).backward()
    with pretended_gpu() as gpu:
        there = embeddings.to(gpu.device).requires_grad_()
        (3 * TripletLoss(0.3)(there, labels, None, torch.Generator())).backward()
        torch.testing.assert_close(there.grad.cpu(), leaf.grad, rtol=tolerance, atol=tolerance)
        assert gpu.operations["_cdist_forward"] == 1
        assert gpu.operations["_cdist_backward"] == 0


def test_the_gradient_of_many_triplets_is_that_of_differences():
    embeddings = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    triplets = torch.tensor(
        [(a, p, n) for a in range(4) for p in range(4) for n in range(4) if len({a, p, n}) == 3]
    ).t()
    assert triplets.shape[1] > 4**2
    assert torch.autograd.gradcheck(lambda e: _TripletMargin.apply(e, *triplets, 0.9), embeddings)


def test_no_triplets_are_a_zero_with_a_gradient():
    embeddings = torch.rand(4, 2, requires_grad=True)
    nothing = torch.empty(0, dtype=torch.int64)
    value = TripletLoss()(embeddings, torch.zeros(4), Triplets(nothing, nothing, nothing, torch.zeros(())), None)
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
        triplet_margin_loss(torch.rand(4, 2), two, two, three, 0.2)
    with pytest.raises(ValueError, match="one for each embedding"):
        TripletLoss()(torch.rand(4, 2), two, None, torch.Generator())
