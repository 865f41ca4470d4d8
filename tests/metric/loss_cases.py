"""Which losses, with which miners, `test_losses_conformance` holds to account, and one training step with each."""

from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist

from mdr_tune.metric import (
    gather_in_rank_order,
    gather_without_gradient,
    shard_sizes,
    shard_slice,
)
from mdr_tune.metric.library_loss import library_loss_names
from tests.metric.by_name import LOSSES, build_loss, build_miner
from tests.own_components import LOSSES as OWN_LOSSES

BATCH, FEATURES, SIZE, CLASSES = 13, 5, 4, 4  # 13 does not divide by 2

NEEDED = {"pml.RankedListLoss": {"margin": 0.4, "Tn": 1}}  # arguments without a default

# Deprecated calls in the library's own code; `pytestmark` of the modules that try its losses.
KNOWN_WARNINGS = [
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:pytorch_metric_learning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning:pytorch_metric_learning"),
]


class Case(NamedTuple):
    name: str
    miner: str = "all"
    arguments: dict = {}  # noqa: RUF012 - never changed

    @property
    def id(self):
        return "-".join([self.name, self.miner, *map(str, self.arguments)])

    def build(self, seed=0, dtype=torch.float64):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return build_loss(self.name, self.arguments, SIZE, CLASSES).to(dtype)


SPECIAL_CASES = [
    Case("triplet", "distance_weighted"),  # draws at random
    Case("triplet", "random"),  # draws at random
    Case("triplet", "semi_hard"),
    Case("triplet", "multi_similarity"),  # gives pairs
    Case("triplet"),
    Case("contrastive"),
    Case("contrastive", "multi_similarity"),
    Case("margin", "distance_weighted"),
    Case("margin", "all", {"learn_beta": True, "nu": 0.1}),
    Case("multi_similarity", "multi_similarity"),
    Case("n_pair"),
    Case("n_pair", "random"),
    Case("proxy_nca"),
    Case("proxy_anchor"),
    Case("proxy_anchor", "hard"),
    Case("arcface"),
    Case("arcface", "random"),
    Case("pml.NTXentLoss", "random"),
    Case("pml.TripletMarginLoss", "all", {"triplets_per_anchor": 2}),  # draws at random
]
OWN_CASES = [
    *(Case(name) for name in OWN_LOSSES),
    Case("tests.own_components:Pairwise", "random", {"norm": "sum"}),
    Case("triplet", "tests.own_components:EasyPositive"),
]
CASES = [
    *SPECIAL_CASES,
    *OWN_CASES,
    *(Case(f"pml.{name}", arguments=NEEDED.get(f"pml.{name}", {})) for name in library_loss_names()),
]
assert {case.name for case in CASES} >= set(LOSSES)


def data():
    """Features (BATCH, FEATURES), labels (BATCH,), all classes among them, and the weights of a linear layer."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(BATCH, FEATURES, generator=generator, dtype=torch.float64)
    weights = torch.randn(SIZE, FEATURES, generator=generator, dtype=torch.float64)
    return features, torch.arange(BATCH) % CLASSES, weights


def step(case, rank, world_size):
    """One step of a linear layer and the loss: the value, and the gradients as the optimizer would see them."""
    features, labels, weights = data()
    layer = torch.nn.Linear(FEATURES, SIZE, bias=False, dtype=torch.float64)
    layer.weight.data.copy_(weights)
    sizes, own = shard_sizes(BATCH, world_size), shard_slice(BATCH, world_size, rank)
    embeddings = gather_in_rank_order(layer(features[own]), sizes)
    gathered_labels = gather_without_gradient(labels[own], sizes)
    generator = torch.Generator().manual_seed(5)
    torch.manual_seed(rank)  # which must not matter
    loss = case.build()
    mined = build_miner(case.miner, {})(embeddings.detach(), gathered_labels, generator)
    value = loss(embeddings, gathered_labels, mined, generator)
    value.backward()
    if world_size > 1:  # what DDP does
        dist.all_reduce(layer.weight.grad)
        layer.weight.grad /= world_size
    own_gradients = {name: parameter.grad for name, parameter in loss.named_parameters()}
    return {"value": value.detach(), "layer": layer.weight.grad, **own_gradients}
