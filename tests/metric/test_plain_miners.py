"""What every miner must do, and each one against a naive loop. (`test_distance_weighted` has the rest of its own.)"""

import math
from collections import Counter

import pytest
import torch

from mdr_tune.metric import Pairs, Triplets
from tests.metric.by_name import MINERS, build_miner
from tests.pretended_gpu import pretended_gpu

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 1, 2, 3])  # 3 is alone


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(dtype=torch.float64):
    return torch.randn(9, 3, generator=seeded(), dtype=dtype)


def pairs_in(mined):
    """Positive pairs and negative pairs, as lists of indices."""
    positives = list(zip(mined[0].tolist(), mined[1].tolist(), strict=True))
    negative_anchors = mined.negative_anchors if isinstance(mined, Pairs) else mined.anchors
    return positives, list(zip(negative_anchors.tolist(), mined.negatives.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(MINERS))
def test_positives_share_the_class_and_negatives_do_not(name, dtype):
    mined = build_miner(name, {})(batch(dtype).requires_grad_(), LABELS, seeded())
    if name == "all":
        assert mined is None
        return
    positives, negatives = pairs_in(mined)
    assert positives
    assert negatives
    assert all(a != p and LABELS[a] == LABELS[p] for a, p in positives)
    assert all(LABELS[a] != LABELS[n] for a, n in negatives)
    assert all(indices.dtype == torch.int64 for indices in mined[:3])
    assert not any(field.requires_grad for field in mined)


@pytest.mark.parametrize("name", list(MINERS))
def test_the_generator_decides_and_nothing_else(name):
    miner, embeddings = build_miner(name, {}), batch()
    first = miner(embeddings, LABELS, seeded(1))
    state = torch.get_rng_state()
    torch.rand(7)  # moves the global generator
    second = miner(embeddings, LABELS, seeded(1))
    if name != "all":
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.set_rng_state(state)
    miner(embeddings, LABELS, seeded(1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 2], [0], []])
@pytest.mark.parametrize("name", sorted(set(MINERS) - {"all"}))
def test_where_there_is_nothing_to_find_it_is_empty(name, labels):
    mined = build_miner(name, {})(torch.rand(len(labels), 4), torch.tensor(labels, dtype=torch.int64), seeded())
    positives, negatives = pairs_in(mined)
    assert not (positives and negatives)
    assert all(indices.dtype == torch.int64 for indices in mined[:3])


@pytest.mark.parametrize("name", list(MINERS))
def test_wrong_shapes_are_refused(name):
    with pytest.raises(ValueError, match="one for each embedding"):
        build_miner(name, {})(torch.rand(3, 4), torch.zeros(2), seeded())


@pytest.mark.parametrize("name", ["distance_weighted", "random"])
def test_a_generator_of_a_gpu_is_refused(name):
    with pretended_gpu() as gpu, pytest.raises(ValueError, match=r"drawn on the CPU.* torch.Generator\(\)"):
        build_miner(name, {})(batch().to(gpu.device), LABELS, torch.Generator("cuda"))


def test_only_the_distance_weighted_miner_falls_back():
    assert [name for name in MINERS if build_miner(name, {}).can_fall_back] == ["distance_weighted"]
    for name in ("random", "hard", "semi_hard"):
        assert build_miner(name, {})(batch(), LABELS, seeded()).fallback_fraction == 0


def test_random_uses_each_positive_pair_once():
    mined = build_miner("random", {})(batch(), LABELS, seeded())
    expected = [(i, j) for i in range(9) for j in range(9) if i != j and LABELS[i] == LABELS[j]]
    assert pairs_in(mined)[0] == expected


def test_random_negatives_are_uniform():
    miner, generator = build_miner("random", {}), seeded(3)
    rounds = 2000
    drawn = Counter(miner(batch(), LABELS, generator).negatives[0].item() for _ in range(rounds))
    assert set(drawn) == {1, 3, 4, 6, 7, 8}
    assert all(count / rounds == pytest.approx(1 / 6, abs=0.04) for count in drawn.values())


def naive_distances():
    points = batch().tolist()
    return [[math.dist(a, b) for b in points] for a in points]


def test_hard_equals_a_naive_loop():
    distances, expected = naive_distances(), []
    for i in range(9):
        positives = [j for j in range(9) if j != i and LABELS[j] == LABELS[i]]
        negatives = [j for j in range(9) if LABELS[j] != LABELS[i]]
        if positives:
            furthest = max(positives, key=lambda j: distances[i][j])
            nearest = min(negatives, key=lambda j: distances[i][j])
            expected.append((i, furthest, nearest))
    mined = build_miner("hard", {})(batch(), LABELS, seeded())
    assert list(zip(*(indices.tolist() for indices in mined[:3]), strict=True)) == expected


def test_semi_hard_equals_a_naive_loop():
    distances, expected = naive_distances(), []
    for a in range(9):
        for p in range(9):
            for n in range(9):
                if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]:
                    gap = distances[a][n] - distances[a][p]
                    if 0 < gap <= 0.5:
                        expected.append((a, p, n))
    mined = build_miner("semi_hard", {"margin": 0.5})(batch(), LABELS, seeded())
    assert expected
    assert list(zip(*(indices.tolist() for indices in mined[:3]), strict=True)) == expected


def test_multi_similarity_equals_a_naive_loop():
    points = torch.nn.functional.normalize(batch()).tolist()
    cosines = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in points] for a in points]
    expected_positives, expected_negatives = set(), set()
    for i in range(9):
        positives = [j for j in range(9) if j != i and LABELS[j] == LABELS[i]]
        negatives = [j for j in range(9) if LABELS[j] != LABELS[i]]
        if positives:
            hardest_negative = max(cosines[i][j] for j in negatives)
            hardest_positive = min(cosines[i][j] for j in positives)
            expected_positives |= {(i, j) for j in positives if cosines[i][j] - 0.05 < hardest_negative}
            expected_negatives |= {(i, j) for j in negatives if cosines[i][j] + 0.05 > hardest_positive}
    mined = build_miner("multi_similarity", {"epsilon": 0.05})(batch(), LABELS, seeded())
    positives, negatives = pairs_in(mined)
    assert (set(positives), set(negatives)) == (expected_positives, expected_negatives)
    assert len(set(positives)) == len(positives)
    assert len(set(negatives)) == len(negatives)
    assert 0 < len(negatives) < 60  # it leaves some out


@pytest.mark.parametrize("name", ["hard", "semi_hard"])
def test_lengths_of_embeddings_count(name):
    """The library's miners would put embeddings on the unit sphere."""
    embeddings = batch() * torch.linspace(1, 9, 9)[:, None]
    miner = build_miner(name, {})
    raw = miner(embeddings, LABELS, seeded())
    on_sphere = miner(torch.nn.functional.normalize(embeddings), LABELS, seeded())
    assert isinstance(raw, Triplets)
    assert [field.tolist() for field in raw[:3]] != [field.tolist() for field in on_sphere[:3]]
