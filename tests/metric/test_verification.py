"""Thresholds over all pairs: equal to plain loops and to scikit-learn, whatever the blocks, scales and ties."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

from mdr_tune.metric import verification
from mdr_tune.metric.near_ties import squared_distances
from mdr_tune.metric.retrieval import EmbeddingsNotFinite
from mdr_tune.metric.verification import Verification, verify, verify_pairs

FARS = (0.0, 1e-3, 1e-2, 0.29, 0.999)


def all_pairs(embeddings, labels, gallery=None, gallery_labels=None):
    """Return the squared distance of each pair, and whether it is positive, one pair at a time."""
    count = len(embeddings)
    if gallery is None:
        pairs = [(i, j) for i in range(count) for j in range(i)]
        gallery, gallery_labels = embeddings, labels
    else:
        pairs = [(i, j) for i in range(count) for j in range(len(gallery))]
    rows, columns = torch.tensor(pairs).unbind(dim=1)
    distances = squared_distances(embeddings[rows], gallery[columns])
    return distances.numpy(), (labels[rows] == gallery_labels[columns]).numpy()


def check_against_scikit_learn(
    found: Verification, distances: np.ndarray, positive: np.ndarray, is_exact: bool = True
) -> None:
    far, tar, _ = roc_curve(positive, -distances, drop_intermediate=False)
    for wanted, threshold in zip(FARS, found.at_far, strict=True):
        assert found.true_accept_rate(threshold) == pytest.approx(100 * tar[far <= wanted].max(), rel=1e-12)
        assert found.false_accept_rate(threshold) <= 100 * wanted
        # All of these are accepted below the threshold, and at it there are more negative ones than may be.
        assert threshold.below == (
            (distances[~positive] < threshold.squared).sum(),
            (distances[positive] < threshold.squared).sum(),
        )
        assert not is_exact or threshold.squared in distances[~positive]
    gap = far - (1 - tar)
    i = int((gap >= 0).argmax())
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    expected = far[i - 1] + share * (far[i] - far[i - 1])
    assert found.equal_error_rate() == pytest.approx(100 * expected, rel=1e-9)
    for given, threshold in zip(GIVEN, found.at_given, strict=True):
        assert threshold.below == ((distances[~positive] < given).sum(), (distances[positive] < given).sum())


GIVEN = (0.0, 0.5, 3.0, 1e9)


def noise(count, classes, dimensions, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    centres = torch.randn(classes, dimensions, generator=generator)
    return centres[labels] + torch.randn(count, dimensions, generator=generator), labels


def cases():
    embeddings, labels = noise(150, 7, 32)
    yield "clusters", embeddings, labels
    yield "on the sphere", torch.nn.functional.normalize(embeddings), labels
    yield "far from the origin", embeddings + 100, labels
    outlier = embeddings.clone()
    outlier[3] *= 1e4
    yield "one far away", outlier, labels
    yield "whole numbers", torch.randint(3, (150, 4), generator=torch.Generator().manual_seed(1)).float(), labels
    yield "many copies", embeddings[:10].repeat(15, 1), labels
    yield "in one class but one", embeddings, torch.tensor([0] * 149 + [1])
    yield "float64", embeddings.double() * (1 + 1e-9), labels
    yield "half", embeddings.half(), labels


@pytest.mark.parametrize("most_exact", [2**23, 3])
@pytest.mark.parametrize("block_entries", [None, 700])
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case[0])
def test_equals_scikit_learn(case, block_entries, most_exact, monkeypatch):
    monkeypatch.setattr(verification, "_MOST_EXACT", most_exact)
    name, embeddings, labels = case
    found = verify(embeddings, labels, FARS, GIVEN, block_entries=block_entries)
    distances, positive = all_pairs(embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)), labels)
    assert found.pairs == ((~positive).sum(), positive.sum())
    # More pairs than may be computed exactly, of copies, have one distance: that they are accepted together is right.
    check_against_scikit_learn(found, distances, positive, is_exact=(name, most_exact) != ("many copies", 3))


@pytest.mark.parametrize("block_entries", [None, 300])
def test_equals_scikit_learn_with_a_gallery(block_entries):
    embeddings, labels = noise(60, 7, 16)
    gallery, gallery_labels = noise(90, 9, 16)
    gallery_labels = gallery_labels + 2  # not all classes are on both sides
    found = verify(embeddings, labels, FARS, GIVEN, gallery, gallery_labels, block_entries=block_entries)
    check_against_scikit_learn(found, *all_pairs(embeddings, labels, gallery, gallery_labels))


def test_a_list_of_pairs_equals_scikit_learn():
    embeddings, _ = noise(80, 7, 16)
    pairs = torch.randint(80, (300, 2), generator=torch.Generator().manual_seed(5))
    positive = torch.rand(300, generator=torch.Generator().manual_seed(6)) < 0.3
    found = verify_pairs(embeddings, pairs, positive, FARS, GIVEN)
    distances = squared_distances(embeddings[pairs[:, 0]], embeddings[pairs[:, 1]]).numpy()
    check_against_scikit_learn(found, distances, positive.numpy())


@pytest.mark.parametrize("labels", [torch.zeros(5, dtype=torch.int64), torch.arange(5)])
def test_without_a_negative_or_a_positive_pair_there_are_no_rates(labels):
    found = verify(torch.rand(5, 3), labels, (0.1,), (0.5,))
    rates = [found.true_accept_rate(found.at_far[0]), found.false_accept_rate(found.at_far[0])]
    assert math.isnan(found.equal_error_rate())
    assert any(map(math.isnan, rates))
    assert math.isnan(found.at_far[0].squared)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(EmbeddingsNotFinite, match="not finite"):
        verify(torch.tensor([[1.0], [math.nan]]), torch.tensor([0, 1]), (0.1,))
