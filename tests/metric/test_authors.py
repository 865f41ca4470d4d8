"""Our numbers against those of the authors' code.

`fixtures/authors_mdr.json` holds what the authors' public code (kakaoenterprise/AAAI2021_MDR, commit 2dc76fb)
returned for the inputs below (uniform numbers: torch draws them
alike on every CPU), run once on a CPU with torch 2.14:
- `float64_adam`: its MDR loss over 50 Adam steps on embeddings and levels;
- `float32_drift`: the same in float32, Adam on the levels only. (Adam on the embeddings would amplify rounding: the
  loss has kinks, and two float32 runs that sum in another order part after a few steps.)
- `negative_weights`: the matrix from which its distance-weighted sampler draws, one row an anchor;
- `recall`, `rescale` and `triplet`: its Recall@K, its embedding layer in training (with the identity as weights) and
  its triplet loss.
"""

import json
from pathlib import Path

import pytest
import torch

from mdr_tune.metric import (
    MDRLoss,
    TripletLoss,
    Triplets,
    apply_embedding_mode,
    negative_weights,
    retrieval_metrics,
)

AUTHORS = json.loads((Path(__file__).parent / "fixtures" / "authors_mdr.json").read_text())
LEARNING_RATE = 0.02


def uniform(seed, *shape):
    """Float64 numbers in [-0.5, 0.5)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5


def drifting_embeddings(step):
    """(24, 16) float32 embeddings whose scale and shape change with the step."""
    return ((1 + 0.02 * step) * uniform(11, 24, 16) + 0.1 * uniform(1000 + step, 24, 16)).to(torch.float32)


def clustered_embeddings(dimensions):
    """(12, dimensions) embeddings around a centre; 0 and 4, of one class, are nearly duplicates."""
    embeddings = 0.5 * uniform(21, 1, dimensions) + 0.7 * uniform(22, 12, dimensions)
    embeddings[4] = embeddings[0] + 0.05 * uniform(23, dimensions)
    return embeddings


def retrieval_embeddings():
    """(200, 12) embeddings of `class_labels(20, 200)`, in overlapping clusters."""
    return uniform(31, 200, 12) + uniform(32, 20, 12)[class_labels(20, 200)]


def class_labels(classes, count):
    """Labels 0 .. classes - 1, in turn."""
    return torch.arange(count) % classes


def close(expected, relative):
    return pytest.approx(expected, rel=relative, abs=relative)


def check_step(expected, loss, value, embeddings, relative):
    gradient = embeddings.grad
    assert value.item() == close(expected["loss"], relative)
    assert loss.levels.tolist() == close(expected["levels"], relative)
    assert loss.levels.grad.tolist() == close(expected["level_gradient"], relative)
    assert loss.mean.item() == close(expected["mean"], relative)
    assert loss.std.item() == close(expected["std"], relative)
    assert gradient.norm().item() == pytest.approx(expected["gradient_norm"], rel=relative)
    entries = [gradient[0, 0].item(), gradient[7, 3].item(), gradient[23, 15].item()]
    # Entries are sums that cancel: held to the gradient's scale, not to their own.
    assert entries == pytest.approx(expected["gradient_entries"], abs=relative * expected["gradient_norm"])


def test_mdr_over_50_adam_steps_in_float64():
    expected = AUTHORS["float64_adam"]
    loss = MDRLoss().double()
    embeddings = uniform(1, 24, 16).requires_grad_()
    optimizer = torch.optim.Adam([embeddings, *loss.parameters()], lr=LEARNING_RATE)
    for step in expected["steps"]:
        optimizer.zero_grad()
        value = loss(embeddings)
        value.backward()
        check_step(step, loss, value, embeddings, 1e-10)
        optimizer.step()
    assert embeddings.norm().item() == pytest.approx(expected["final_norm"], rel=1e-10)
    assert loss.levels.tolist() == close(expected["final_levels"], 1e-10)


def test_mdr_over_50_steps_in_float32():
    expected = AUTHORS["float32_drift"]
    loss = MDRLoss()
    optimizer = torch.optim.Adam(loss.parameters(), lr=LEARNING_RATE)
    for number, step in enumerate(expected["steps"]):
        embeddings = drifting_embeddings(number).requires_grad_()
        optimizer.zero_grad()
        value = loss(embeddings)
        value.backward()
        check_step(step, loss, value, embeddings, 1e-5)
        optimizer.step()
    assert loss.levels.tolist() == close(expected["final_levels"], 1e-5)


@pytest.mark.parametrize("case", sorted(AUTHORS["negative_weights"]))
def test_negative_weights(case):
    dimensions, dtype = case.split("_")
    embeddings = clustered_embeddings(int(dimensions)).to(getattr(torch, dtype))
    weights, fell_back = negative_weights(embeddings, class_labels(4, 12), "official")
    expected = torch.tensor(AUTHORS["negative_weights"][case], dtype=embeddings.dtype)
    # In float32 and 512 dimensions, rounding of a distance is amplified by about 500 in its weight.
    tolerance = 1e-10 if dtype == "float64" else 1e-3
    torch.testing.assert_close(weights, expected, rtol=tolerance, atol=tolerance * 1e-3)
    # The near duplicates 0 and 4 underflow all other weights of their rows, in float32.
    assert fell_back.nonzero().flatten().tolist() == ([0, 4] if case == "512_float32" else [])


def test_recall():
    metrics = retrieval_metrics(retrieval_embeddings(), class_labels(20, 200), ks=(1, 2, 4, 8))
    recalls = [metrics[f"recall_at_{k}"] for k in (1, 2, 4, 8)]
    assert recalls == pytest.approx(AUTHORS["recall"], rel=1e-6)  # theirs pass through float32


def test_rescale():
    expected = AUTHORS["rescale"]
    embeddings = uniform(41, 24, 16).requires_grad_()
    rescaled = apply_embedding_mode(embeddings, "rescale")
    (rescaled * uniform(42, 24, 16)).sum().backward()
    assert rescaled.norm().item() == pytest.approx(expected["norm"], rel=1e-12)
    assert rescaled[0].tolist() == close(expected["first_row"], 1e-12)
    assert embeddings.grad.norm().item() == pytest.approx(expected["gradient_norm"], rel=1e-12)
    assert embeddings.grad[0].tolist() == close(expected["gradient_first_row"], 1e-12)


def test_triplet():
    expected = AUTHORS["triplet"]
    embeddings = uniform(51, 24, 16).requires_grad_()
    indices = torch.arange(8)
    triplets = Triplets(indices, indices + 8, indices + 16, torch.zeros(()))
    value = TripletLoss(0.2)(embeddings, class_labels(8, 24), triplets, torch.Generator())
    value.backward()
    assert value.item() == pytest.approx(expected["loss"], rel=1e-12)
    assert embeddings.grad.norm().item() == pytest.approx(expected["gradient_norm"], rel=1e-12)
