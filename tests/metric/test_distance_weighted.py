import math
from collections import Counter

import pytest
import torch

from mdr_tune.metric import DistanceWeightedMiner, negative_weights


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def naive_weights(embeddings, labels, kind, cutoff=0.5, limit=1.4):
    """Rows of probabilities and which rows fell back, entry by entry in Python floats."""
    points = torch.nn.functional.normalize(embeddings).tolist()
    count, dimensions = embeddings.shape
    rows, fell_back = [], []
    for i in range(count):
        distances = [1.0 if j == i else math.dist(points[i], points[j]) for j in range(count)]
        distances = [max(d, cutoff) for d in distances]
        logs = [(2 - dimensions) * math.log(d) - (dimensions - 3) / 2 * math.log(1 - d * d / 4) for d in distances]
        negatives = [labels[j] != labels[i] for j in range(count)]
        valid = [negatives[j] and distances[j] < limit for j in range(count)]
        candidates = logs if kind == "official" else [x for x, ok in zip(logs, valid, strict=True) if ok]
        peak = max(candidates, default=0.0)
        row = [math.exp(x - peak) if ok else 0.0 for x, ok in zip(logs, valid, strict=True)]
        fell_back.append(sum(row) == 0)
        if fell_back[-1]:
            row = [float(negative) for negative in negatives]
        rows.append([x / sum(row) for x in row])
    return rows, fell_back


@pytest.mark.parametrize("kind", ["official", "stable"])
@pytest.mark.parametrize("dimensions", [1, 2, 3, 4, 16])
def test_weights_equal_a_naive_loop(kind, dimensions):
    embeddings = 0.4 + torch.rand(9, dimensions, dtype=torch.float64, generator=seeded(dimensions))
    embeddings[-1] *= -1  # far from all others: its row falls back
    labels = torch.arange(9) % 3
    expected, expected_fallbacks = naive_weights(embeddings[:-1], labels[:-1].tolist(), kind)
    weights, fell_back = negative_weights(embeddings[:-1], labels[:-1], kind)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert fell_back.tolist() == expected_fallbacks
    last, last_fell_back = negative_weights(embeddings, labels, kind)
    assert bool(last_fell_back[-1])
    torch.testing.assert_close(last[-1], (labels != labels[-1]) / 6.0, check_dtype=False)


def test_stable_keeps_what_official_underflows():
    base = torch.rand(1, 512, generator=seeded()) - 0.5
    embeddings = base + 0.5 * (torch.rand(8, 512, generator=seeded(1)) - 0.5)
    embeddings[1] = embeddings[0] + 1e-3 * embeddings[2]  # a close positive of 0
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    embeddings[2:] += 0.8 * (torch.rand(6, 512, generator=seeded(2)) - 0.5)
    assert negative_weights(embeddings, labels, "official")[1][:2].all()
    weights, fell_back = negative_weights(embeddings, labels, "stable")
    assert not fell_back[:2].any()
    assert weights[0].max() > weights[0, 2:].min()


@pytest.mark.parametrize("kind", ["official", "stable"])
@pytest.mark.parametrize("dimensions", [2, 3, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opposite_embeddings_give_no_nan(kind, dimensions, dtype):
    embeddings = torch.rand(6, dimensions, dtype=dtype, generator=seeded())
    embeddings[3:] = -embeddings[:3]  # distances of 2, give or take the rounding
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    weights, _ = negative_weights(embeddings, labels, kind)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6, dtype=dtype))
    assert not weights[labels[:, None] == labels[None, :]].any()


def test_every_ordered_positive_pair_once_with_a_negative():
    labels = torch.tensor([0, 1, 0, 2, 1, 0])  # 2 is alone
    triplets = DistanceWeightedMiner()(torch.rand(6, 4, generator=seeded()), labels, seeded())
    pairs = list(zip(triplets.anchors.tolist(), triplets.positives.tolist(), strict=True))
    assert pairs == [(i, j) for i in range(6) for j in range(6) if i != j and labels[i] == labels[j]]
    assert (labels[triplets.anchors] != labels[triplets.negatives]).all()


def test_draws_follow_the_weights():
    embeddings = torch.rand(6, 3, generator=seeded(3))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    weights, _ = negative_weights(embeddings, labels)
    miner, generator = DistanceWeightedMiner(), seeded(4)
    drawn = Counter()
    rounds = 3000
    for _ in range(rounds):
        drawn.update(miner(embeddings, labels, generator).negatives[:1].tolist())
    for negative in range(6):
        assert drawn[negative] / rounds == pytest.approx(weights[0, negative].item(), abs=0.05)


def test_draws_depend_on_the_generator_only():
    embeddings, labels = torch.rand(30, 4), torch.arange(30) % 5
    miner = DistanceWeightedMiner()
    first = miner(embeddings, labels, seeded(1))
    torch.rand(7)  # moves the global generator
    second = miner(embeddings, labels, seeded(1))
    assert torch.equal(first.negatives, second.negatives)
    assert not torch.equal(first.negatives, miner(embeddings, labels, seeded(2)).negatives)


def test_fallback_fraction_counts_anchors_with_a_positive():
    # All at right angles or opposite: beyond the cutoff of 1.4, every row falls back.
    embeddings = torch.eye(5)
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert DistanceWeightedMiner()(embeddings, labels, seeded()).fallback_fraction == 1
    # Anchors 0 and 1 now have a near negative, 4, which has no positive itself and does not count.
    embeddings[4] = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    assert DistanceWeightedMiner()(embeddings, labels, seeded()).fallback_fraction == 0.5


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 2]])
def test_without_negatives_or_positives_there_are_no_triplets(labels):
    triplets = DistanceWeightedMiner()(torch.rand(3, 4), torch.tensor(labels), seeded())
    assert [len(indices) for indices in triplets[:3]] == [0, 0, 0]
    assert triplets.anchors.dtype == torch.int64
    assert triplets.fallback_fraction == 0


def test_weights_of_one_class_are_zero():
    weights, fell_back = negative_weights(torch.rand(3, 4), torch.zeros(3))
    assert not weights.any()
    assert not fell_back.any()


def test_no_gradient_is_recorded():
    embeddings = torch.rand(4, 3, requires_grad=True)
    triplets = DistanceWeightedMiner()(embeddings, torch.tensor([0, 0, 1, 1]), seeded())
    assert not triplets.fallback_fraction.requires_grad


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="Known: official, stable"):
        DistanceWeightedMiner(weights="offical")
    with pytest.raises(ValueError, match="0 < cutoff < nonzero_loss_cutoff"):
        DistanceWeightedMiner(cutoff=1.5)
    with pytest.raises(ValueError, match="one for each embedding"):
        DistanceWeightedMiner()(torch.rand(3, 4), torch.zeros(2), seeded())
    with pytest.raises(ValueError, match="not finite"):
        DistanceWeightedMiner()(torch.full((3, 4), torch.nan), torch.tensor([0, 0, 1]), seeded())


def test_embeddings_that_are_not_finite_are_refused_also_where_there_is_nothing_to_draw():
    embeddings = torch.rand(4, 3)
    embeddings[1, 2] = torch.nan
    for labels in (torch.tensor([0, 0, 1, 1]), torch.arange(4)):
        with pytest.raises(ValueError, match="not finite"):
            DistanceWeightedMiner()(embeddings, labels, seeded())
