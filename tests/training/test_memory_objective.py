"""The objective with a cross-batch memory: against naive loops and pytorch-metric-learning's CrossBatchMemory."""

from typing import Any

import pytest
import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor
from torch.nn import functional

from mdr_tune.config.trial import TrialConfig
from mdr_tune.metric import BatchLabels
from mdr_tune.training.objective import Objective

N, D, CLASSES, STEPS = 8, 5, 4, 6
LABELS = torch.arange(N) % CLASSES
DISTANCE = {"distance": distances.LpDistance(normalize_embeddings=False)}


def objective_of(**trial: Any) -> Objective:
    keys = {"batch": {"size": N, "images_per_class": 2}, "embedding": {"size": D, "mode": "l2"}, "mdr": None, **trial}
    config = TrialConfig.from_keys(keys)
    assert config.embedding.size is not None
    return Objective(config, CLASSES, config.embedding.size).double()


def batches() -> list[Tensor]:
    return [torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(STEPS)]


def labels_of(step: int) -> Tensor:
    return LABELS.roll(step)


def step_of(objective: Objective, step: int, batch: Tensor, epochs_done: float = 2.0) -> tuple[Tensor, Tensor]:
    """Return the total of a step and its gradient."""
    leaf = batch.clone().requires_grad_()
    total = objective(leaf, BatchLabels.of(labels_of(step)), torch.Generator(), epochs_done).total
    total.backward()
    assert leaf.grad is not None
    return total.detach(), leaf.grad


LIBRARY: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "contrastive": ({"loss": "contrastive"}, lambda: losses.ContrastiveLoss(0, 1, **DISTANCE), None),
    "multi_similarity": (
        {"loss": "multi_similarity"},
        lambda: losses.MultiSimilarityLoss(2, 50, 0.5),
        miners.MultiSimilarityMiner(0.1),
    ),
    "triplets, semi-hard": (
        {"loss": {"name": "pml.TripletMarginLoss", "margin": 0.3}, "miner": {"name": "semi_hard", "margin": 0.3}},
        lambda: losses.TripletMarginLoss(0.3, **DISTANCE),
        miners.TripletMarginMiner(0.3, "semihard", **DISTANCE),
    ),
    "margin, hard": (
        {"loss": "margin", "miner": "hard"},
        lambda: losses.MarginLoss(0.2, 0, 1.2, **DISTANCE),
        miners.BatchHardMiner(**DISTANCE),
    ),
}


@pytest.mark.parametrize("name", LIBRARY)
def test_without_the_batchs_own_loss_it_equals_the_librarys_memory(name: str) -> None:
    trial, make_loss, miner = LIBRARY[name]
    objective = objective_of(**trial, memory={"size": 3 * N - 3, "batch_loss": False})  # a size that N does not divide
    library = losses.CrossBatchMemory(make_loss(), D, 3 * N - 3, miner).double()
    for step, batch in enumerate(batches()):
        leaf = batch.clone().requires_grad_()
        expected = library(functional.normalize(leaf), labels_of(step))
        expected.backward()
        total, gradient = step_of(objective, step, batch)
        torch.testing.assert_close(total, expected.detach().reshape(()))
        torch.testing.assert_close(gradient, leaf.grad)


@pytest.mark.parametrize("mode", ["rescale", "l2", "none"])
def test_batch_and_memory_equal_a_naive_loop(mode: str) -> None:
    settings = {"size": 2 * N + 4, "start_epoch": 1.0, "weight": 0.5}
    objective = objective_of(embedding={"size": D, "mode": mode}, miner="all", memory=settings)
    queue: list[tuple[Tensor, int]] = []  # raw embeddings and labels
    for step, batch in enumerate(batches()):
        epochs_done = 1.0 + step / 2  # the first step is the last one before the memory starts
        leaf, labels = batch.clone().requires_grad_(), labels_of(step)
        lengths = torch.stack([(leaf[i] - leaf[j]).norm() for i in range(N) for j in range(N) if i != j]).mean()

        def scaled(raw: Tensor, mean: Tensor) -> Tensor:
            return raw / mean if mode == "rescale" else functional.normalize(raw, dim=0) if mode == "l2" else raw

        anchors = [scaled(leaf[i], lengths) for i in range(N)]
        expected = triplets_of(anchors, labels.tolist(), list(zip(anchors, labels.tolist(), strict=True)), 0)
        if step > 0:
            queue = [*queue, *((row, int(label)) for row, label in zip(batch, labels, strict=True))][-(2 * N + 4) :]
            references = [(scaled(raw, lengths.detach()), label) for raw, label in queue]
            expected = expected + 0.5 * triplets_of(anchors, labels.tolist(), references, len(queue) - N)
        expected.backward()
        total, gradient = step_of(objective, step, batch, epochs_done)
        torch.testing.assert_close(total, expected.detach())
        torch.testing.assert_close(gradient, leaf.grad, rtol=1e-5, atol=1e-6)  # 1e-12 in `pairwise_distances`
        assert objective.describe(1) == {"train/memory_filled": 100 * len(queue) / (2 * N + 4)}


def triplets_of(anchors: list[Tensor], labels: list[int], references: list[tuple[Tensor, int]], own: int) -> Tensor:
    """Return the mean over all triplets; `own` is the index of the first anchor among the references."""
    terms = []
    for i, anchor in enumerate(anchors):
        for j, (positive, its_label) in enumerate(references):
            if its_label != labels[i] or j == own + i:
                continue
            for negative, other_label in references:
                if other_label != labels[i]:
                    to_positive, to_negative = (anchor - positive + 1e-6).norm(), (anchor - negative + 1e-6).norm()
                    terms.append((to_positive - to_negative + 0.2).clamp(min=0))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("regularized", ["batch", "both"])
def test_mdr_sees_the_memory_if_it_is_told_to(regularized: str) -> None:
    mdr = {"weight": 1.0, "levels": [-1.0, 1.0]}
    objective = objective_of(mdr=mdr, memory={"size": 2 * N, "mdr": regularized})
    alone = objective_of(mdr=mdr)
    first, second, *_ = batches()
    seen = [objective(batch, LABELS, torch.Generator(), 2.0).mdr_loss for batch in (first, second)]
    expected = [alone(batch, LABELS, torch.Generator(), 2.0).mdr_loss for batch in (first, second)]
    torch.testing.assert_close(seen[0], expected[0])
    if regularized == "both":
        fresh = objective_of(mdr=mdr).mdr
        assert fresh is not None
        fresh(functional.normalize(first))
        expected[1] = fresh(functional.normalize(second), functional.normalize(first)).detach()
    torch.testing.assert_close(seen[1], expected[1])
