import math

import pytest
import torch

from mdr_tune.metric import apply_embedding_mode, apply_test_mode, pairwise_distances


def test_rescale_makes_the_mean_distance_one():
    embeddings = 7 * torch.rand(6, 4, dtype=torch.float64)
    points = embeddings.tolist()
    mean = sum(math.dist(a, b) for a in points for b in points) / 30
    rescaled = apply_embedding_mode(embeddings, "rescale")
    torch.testing.assert_close(rescaled, embeddings / mean)
    assert pairwise_distances(rescaled).sum().item() / 30 == pytest.approx(1)


def test_rescale_s_gradient_goes_through_the_mean():
    embeddings = torch.rand(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: apply_embedding_mode(e, "rescale"), (embeddings,))


def test_rescale_survives_a_collapsed_batch():
    embeddings = torch.ones(4, 3, requires_grad=True)
    apply_embedding_mode(embeddings, "rescale").sum().backward()
    assert embeddings.grad.isfinite().all()


def test_l2_and_none():
    embeddings = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    for transform in (apply_embedding_mode, apply_test_mode):
        torch.testing.assert_close(transform(embeddings, "l2"), torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
        assert transform(embeddings, "none") is embeddings
    assert apply_test_mode(embeddings, "rescale") is embeddings


@pytest.mark.parametrize("transform", [apply_embedding_mode, apply_test_mode])
def test_unknown_modes_are_refused(transform):
    with pytest.raises(ValueError, match="Known: rescale, l2, none"):
        transform(torch.rand(3, 2), "unit")


def test_a_single_embedding_cannot_be_rescaled():
    with pytest.raises(ValueError, match="use a larger batch"):
        apply_embedding_mode(torch.rand(1, 2), "rescale")
