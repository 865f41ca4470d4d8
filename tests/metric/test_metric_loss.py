"""Each named loss against a naive loop (`test_triplet` has the triplet loss)."""

import math
import subprocess
import sys

import pytest
import torch

from mdr_tune.metric import Pairs, Triplets
from tests.metric.by_name import build_loss

N, SIZE, CLASSES = 9, 3, 4
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 1, 2, 3])  # 3 is alone
POSITIVES = [(i, j) for i in range(N) for j in range(N) if i != j and LABELS[i] == LABELS[j]]
NEGATIVES = [(i, j) for i in range(N) for j in range(N) if LABELS[i] != LABELS[j]]


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, SIZE, generator=generator, dtype=torch.float64)


def points():
    return batch().tolist()


def distance(i, j):
    return math.dist(points()[i], points()[j])


def cosine(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def mean(values):
    return sum(values) / len(values)


def positive(values):
    return [value for value in values if value > 0]


def built(name, arguments=None):
    torch.manual_seed(0)
    return build_loss(name, arguments or {}, SIZE, CLASSES).double()


def value_of(loss, mined=None):
    return loss(batch(), LABELS, mined, torch.Generator()).item()


def triplets(*indices):
    return Triplets(*(torch.tensor(column) for column in zip(*indices, strict=True)), torch.zeros(()))


def test_contrastive():
    expected = mean(positive([distance(a, p) - 0.1 for a, p in POSITIVES]))
    expected += mean(positive([1.5 - distance(a, n) for a, n in NEGATIVES]))
    loss = built("contrastive", {"pos_margin": 0.1, "neg_margin": 1.5})
    assert value_of(loss) == pytest.approx(expected, rel=1e-9)


def test_contrastive_of_pairs():
    pairs = Pairs(*(torch.tensor(indices) for indices in ([0, 1], [2, 4], [3, 7, 8], [0, 1, 2])))
    expected = mean([distance(0, 2), distance(1, 4)])
    expected += mean(positive([9 - distance(3, 0), 9 - distance(7, 1), 9 - distance(8, 2)]))
    assert value_of(built("contrastive", {"neg_margin": 9}), pairs) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("learn_beta", [False, True])
def test_margin(learn_beta):
    chosen = [(0, 2, 1), (0, 5, 3), (1, 4, 8), (3, 7, 0), (6, 1, 2)]
    terms = positive([distance(a, p) - 1.5 + 0.4 for a, p, _ in chosen])
    terms += positive([1.5 - distance(a, n) + 0.4 for a, _, n in chosen])
    expected = mean(terms) + (0.2 * 1.5 if learn_beta else 0)
    loss = built("margin", {"margin": 0.4, "beta": 1.5, "nu": 0.2, "learn_beta": learn_beta})
    assert value_of(loss, triplets(*chosen)) == pytest.approx(expected, rel=1e-6)  # beta passes through float32
    assert [parameter.shape for parameter in loss.parameters()] == ([(1,)] if learn_beta else [])


def test_multi_similarity():
    expected = []
    for i in range(N):
        cosines = [cosine(points()[i], points()[j]) for j in range(N)]
        pull = sum(math.exp(-3 * (cosines[p] - 0.4)) for a, p in POSITIVES if a == i)
        push = sum(math.exp(20 * (cosines[n] - 0.4)) for a, n in NEGATIVES if a == i)
        expected.append(math.log(1 + pull) / 3 + math.log(1 + push) / 20)
    loss = built("multi_similarity", {"alpha": 3, "beta": 20, "base": 0.4})
    assert value_of(loss) == pytest.approx(mean(expected), rel=1e-9)


def test_n_pair():
    pairs = [(0, 2), (1, 4), (3, 7)]  # the first of each class that has one
    expected = []
    for a, p in pairs:
        exponentials = {other: math.exp(dot(points()[a], points()[other])) for _, other in pairs}
        expected.append(-math.log(exponentials[p] / sum(exponentials.values())))
    assert value_of(built("n_pair")) == pytest.approx(mean(expected), rel=1e-9)


def test_proxy_nca():
    loss = built("proxy_nca", {"softmax_scale": 2})
    embeddings = torch.nn.functional.normalize(batch()).tolist()
    proxies = torch.nn.functional.normalize(loss.loss.proxies).tolist()
    assert len(proxies) == CLASSES
    expected = []
    for embedding, label in zip(embeddings, LABELS.tolist(), strict=True):
        exponentials = [math.exp(-2 * math.dist(embedding, proxy) ** 2) for proxy in proxies]
        expected.append(-math.log(exponentials[label] / sum(exponentials)))
    assert value_of(loss) == pytest.approx(mean(expected), rel=1e-9)


def test_proxy_nca_weights_anchors_by_how_often_they_are_mined():
    loss = built("proxy_nca")
    alone = [loss(batch()[i : i + 1], LABELS[i : i + 1], None, torch.Generator()).item() for i in range(N)]
    value = value_of(loss, triplets((0, 2, 1), (0, 5, 1), (1, 4, 0)))
    assert value == pytest.approx((alone[0] + 0.5 * alone[1]) / N, rel=1e-9)


def test_proxy_anchor():
    loss = built("proxy_anchor", {"margin": 0.2, "alpha": 8})
    pulls, pushes = [], []
    for label, proxy in enumerate(loss.loss.proxies.tolist()):
        cosines = [cosine(point, proxy) for point in points()]
        pull = sum(math.exp(-8 * (cosines[i] - 0.2)) for i in range(N) if LABELS[i] == label)
        push = sum(math.exp(8 * (cosines[i] + 0.2)) for i in range(N) if LABELS[i] != label)
        pulls.append(math.log(1 + pull))
        pushes.append(math.log(1 + push))
    assert value_of(loss) == pytest.approx(mean(pulls) + mean(pushes), rel=1e-9)


def test_arcface():
    loss = built("arcface", {"margin": 20, "scale": 6})
    expected = []
    for point, label in zip(points(), LABELS.tolist(), strict=True):
        angles = [math.acos(cosine(point, weight)) for weight in loss.loss.W.t().tolist()]
        logits = [6 * math.cos(angle) for angle in angles]
        own = angles[label] + math.radians(20)
        if own <= math.pi:
            logits[label] = 6 * math.cos(own)
        else:  # so that it falls on
            logits[label] = 6 * (math.cos(angles[label]) - math.radians(20) * math.sin(math.radians(20)))
        expected.append(math.log(sum(math.exp(x) for x in logits)) - logits[label])
    assert value_of(loss) == pytest.approx(mean(expected), rel=1e-9)


@pytest.mark.parametrize("name", ["contrastive", "margin", "n_pair", "triplet"])
def test_lengths_count_for_distances_and_products(name):
    loss = built(name)
    longer = 2 * batch()
    assert loss(longer, LABELS, None, torch.Generator()).item() != pytest.approx(value_of(loss), rel=1e-2)


@pytest.mark.parametrize("name", ["multi_similarity", "proxy_nca", "proxy_anchor", "arcface"])
def test_lengths_do_not_count_for_directions(name):
    loss = built(name)
    longer = torch.linspace(1, 3, N)[:, None] * batch()
    assert loss(longer, LABELS, None, torch.Generator()).item() == pytest.approx(value_of(loss), rel=1e-9)


def test_the_library_is_imported_only_when_it_is_needed():
    program = (
        "import sys\n"
        "from tests.metric.by_name import build_loss, build_miner\n"
        "build_loss('triplet', {}, 8, 4), build_miner('distance_weighted', {}), build_miner('all', {})\n"
        "sys.exit('pytorch_metric_learning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
