"""What every loss must do: the same on one rank and on two, finite whatever the batch, its state in the state dict."""

from pathlib import Path

import numpy
import pytest
import torch
from pytorch_metric_learning.utils import common_functions

from mdr_tune.metric import Pairs, Triplets
from mdr_tune.metric.library_loss import library_loss_names
from tests.metric.by_name import LOSSES, build_loss, build_miner
from tests.metric.loss_cases import CASES, CLASSES, KNOWN_WARNINGS, NEEDED, SIZE, Case, step
from tests.own_components import LOSSES as OWN_LOSSES
from tests.ranks import run_ranks

pytestmark = KNOWN_WARNINGS
EVERY_NAME = [*LOSSES, *OWN_LOSSES, *(f"pml.{name}" for name in library_loss_names())]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("losses")
    run_ranks(Path(__file__).with_name("losses_worker.py"), 2, str(folder))
    return [torch.load(folder / f"rank_{rank}.pt") for rank in range(2)]


@each_case
def test_two_ranks_compute_what_one_does(case, two_ranks):
    alone = step(case, 0, 1)
    assert alone["value"] > 0
    assert alone["layer"].any()
    for rank in two_ranks:
        torch.testing.assert_close(rank[case.id], alone, rtol=1e-9, atol=1e-9)


def degenerate_batches(dtype):
    """Embeddings (8, SIZE) and labels, by what is wrong with them."""
    usual = torch.randn(8, SIZE, generator=seeded(), dtype=dtype)
    labels = torch.arange(8) % CLASSES
    duplicates = usual.clone()
    duplicates[4] = duplicates[0]  # of one class
    duplicates[5] = duplicates[2]  # of two classes
    simplex = torch.eye(SIZE, dtype=dtype)
    return {
        "duplicates": (duplicates, labels),
        "large duplicates": (1e3 * duplicates, labels),
        "all the same": (usual[:1].expand(8, SIZE), labels),
        "all zero": (torch.zeros(8, SIZE, dtype=dtype), labels),
        "equal distances": (simplex, torch.tensor([0, 0, 1, 1])),
        "opposite": (torch.cat([simplex, -simplex]), labels),
        "one class": (usual, torch.ones(8, dtype=torch.int64)),
        "one class, all the same": (usual[:1].expand(8, SIZE), torch.ones(8, dtype=torch.int64)),
        "no positives": (usual[:4], torch.arange(4)),
        "two embeddings": (usual[:2], torch.arange(2)),
    }


def check_finite(loss, embeddings, labels, mined):
    leaf = embeddings.clone().requires_grad_()
    value = loss(leaf, labels, mined, seeded())
    assert value.shape == ()
    value.backward()
    assert value.isfinite()
    assert leaf.grad.isfinite().all()
    for parameter in loss.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("batch", list(degenerate_batches(torch.float32)))
@pytest.mark.parametrize("name", EVERY_NAME)
def test_degenerate_batches_are_finite(name, batch, dtype):
    if (name, batch) == ("pml.P2SGradLoss", "all zero"):
        pytest.skip("it divides by the norm of an embedding")
    loss = Case(name, arguments=NEEDED.get(name, {})).build(dtype=dtype)
    embeddings, labels = degenerate_batches(dtype)[batch]
    check_finite(loss, embeddings, labels, None)
    for miner in ("random", "multi_similarity") if loss.takes_mined else ():
        check_finite(loss, embeddings, labels, build_miner(miner, {})(embeddings, labels, seeded()))


@pytest.mark.parametrize("name", EVERY_NAME)
def test_nothing_mined_is_finite(name):
    loss = Case(name, arguments=NEEDED.get(name, {})).build()
    embeddings, labels = degenerate_batches(torch.float64)["duplicates"]
    nothing = torch.empty(0, dtype=torch.int64)
    for mined in (Triplets(nothing, nothing, nothing, torch.zeros(())), Pairs(nothing, nothing, nothing, nothing)):
        if loss.takes_mined:
            check_finite(loss, embeddings, labels, mined)
        else:
            with pytest.raises(ValueError, match="use the miner 'all'"):
                loss(embeddings, labels, mined, seeded())


@each_case
def test_the_state_dict_holds_all_that_is_learned(case):
    embeddings, labels = torch.randn(8, SIZE, generator=seeded(), dtype=torch.float64), torch.arange(8) % CLASSES
    loss, other = case.build(seed=1), case.build(seed=2)
    optimizer = torch.optim.SGD([embeddings.clone().requires_grad_(), *loss.parameters()], lr=0.1)
    loss(embeddings.requires_grad_(), labels, None, seeded()).backward()
    optimizer.step()
    other.load_state_dict(loss.state_dict())
    assert loss(embeddings, labels, None, seeded()) == other(embeddings, labels, None, seeded())
    assert set(dict(loss.named_parameters())) == set(loss.state_dict())


@each_case
def test_the_generator_decides_and_nothing_else(case):
    embeddings, labels = torch.randn(12, SIZE, generator=seeded(), dtype=torch.float64), torch.arange(12) % CLASSES
    loss = case.build()
    states = torch.get_rng_state(), numpy.random.get_state()
    first = loss(embeddings, labels, None, seeded(3))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (numpy.random.get_state()[1] == states[1][1]).all()
    assert common_functions.NUMPY_RANDOM is numpy.random
    with torch.random.fork_rng():
        torch.manual_seed(99)
        again = loss(embeddings, labels, None, seeded(3))
    torch.testing.assert_close(again, first, rtol=1e-12, atol=0)  # P2SGradLoss normalises its weights at every call


def test_a_loss_that_draws_does_so_from_the_generator():
    loss = Case("pml.TripletMarginLoss", "all", {"triplets_per_anchor": 2}).build()
    embeddings, labels = torch.randn(12, SIZE, generator=seeded(), dtype=torch.float64), torch.arange(12) % CLASSES
    generator = seeded()
    values = {loss(embeddings, labels, None, generator).item() for _ in range(5)}
    assert len(values) > 1


@pytest.mark.parametrize("name", ["proxy_nca", "proxy_anchor", "arcface", "pml.SoftTripleLoss"])
@pytest.mark.parametrize("label", [-1, CLASSES])
def test_labels_without_a_parameter_are_refused(name, label):
    with pytest.raises(ValueError, match="labels must be 0 to 3"):
        build_loss(name, {}, SIZE, CLASSES)(torch.rand(2, SIZE), torch.tensor([0, label]), None, seeded())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["arcface", "pml.SubCenterArcFaceLoss", "pml.SphereFaceLoss"])
def test_embeddings_in_the_direction_of_their_weights_are_finite(name, dtype):
    """Where the arccosine has an infinite gradient; the cosine is clamped first, which gives 0."""
    loss = Case(name).build(dtype=dtype)
    weights = loss.loss.W.detach().t()
    labels = torch.arange(len(weights)) // (len(weights) // CLASSES)
    for factor in (1, 3, -1):
        check_finite(loss, factor * weights, labels, None)


@pytest.mark.parametrize("name", EVERY_NAME)
def test_nothing_hides_a_divergence(name):
    loss = Case(name, arguments=NEEDED.get(name, {})).build()
    embeddings = torch.full((8, SIZE), torch.nan, dtype=torch.float64)
    try:
        value = loss(embeddings, torch.arange(8) % CLASSES, None, seeded())
    except (IndexError, RuntimeError):  # HistogramLoss has no bin for it
        return
    assert not value.isfinite()
