"""What the public functions do with half precision, under autocast, and with arrays that are no tensors."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss

from mdr_tune import metric
from mdr_tune.metric import (
    MDRLoss,
    apply_embedding_mode,
    apply_test_mode,
    examine_queries,
    gather_in_rank_order,
    gather_without_gradient,
    metrics_from_sums,
    negative_weights,
    pairwise_distances,
    retrieval_metrics,
    score_queries,
    triplet_margin_loss,
)
from tests.metric.by_name import LOSSES, MINERS, build_loss, build_miner

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
LABELS = torch.arange(3).repeat_interleave(4)
TRIPLETS = tuple(torch.tensor(indices) for indices in ([0, 4], [1, 5], [4, 0]))


def seeded():
    return torch.Generator().manual_seed(0)


def loss_of(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_loss(name, {}, embedding_size=6, num_classes=3)


def parts(result):
    """Return all tensors and numbers of a result, in order."""
    if isinstance(result, dict):
        return list(result.values())
    return [part for item in result for part in parts(item)] if isinstance(result, tuple) else [result]


FUNCTIONS = {
    "MDRLoss": lambda embeddings, labels: MDRLoss()(embeddings),
    **{
        f"loss {name}": lambda embeddings, labels, name=name: loss_of(name)(embeddings, labels, None, seeded())
        for name in LOSSES
    },
    **{
        f"miner {name}": lambda embeddings, labels, name=name: build_miner(name, {})(embeddings, labels, seeded())
        for name in MINERS
        if name != "all"  # returns nothing
    },
    "apply_embedding_mode": lambda embeddings, labels: apply_embedding_mode(embeddings, "rescale"),
    "examine_queries": lambda embeddings, labels: examine_queries(embeddings, labels),
    "negative_weights": negative_weights,
    "pairwise_distances": lambda embeddings, labels: pairwise_distances(embeddings),
    "retrieval_metrics": retrieval_metrics,
    "score_queries": score_queries,
    "triplet_margin_loss": lambda embeddings, labels: triplet_margin_loss(embeddings, *TRIPLETS, margin=0.2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32_under_autocast_too(name, dtype):
    embeddings = (5 + torch.randn(12, 6, generator=seeded())).to(dtype)
    expected = parts(FUNCTIONS[name](embeddings.float(), LABELS))
    assert expected
    for enabled in (False, True):
        with torch.autocast("cpu", dtype, enabled=enabled):
            found = parts(FUNCTIONS[name](embeddings, LABELS))
            found_of_float32 = parts(FUNCTIONS[name](embeddings.float(), LABELS))
        for given in (found, found_of_float32):
            torch.testing.assert_close(given, expected, rtol=0, atol=0, check_dtype="miner" not in name, equal_nan=True)


WITH_ARRAYS = {
    **FUNCTIONS,
    "miner all": lambda embeddings, labels: build_miner("all", {})(embeddings, labels, seeded()),
    "apply_test_mode": lambda embeddings, labels: apply_test_mode(embeddings, "l2"),
    "gather_in_rank_order": lambda embeddings, labels: gather_in_rank_order(embeddings, [12]),
    "gather_without_gradient": lambda embeddings, labels: gather_without_gradient(embeddings, [12]),
    "metrics_from_sums": lambda embeddings, labels: metrics_from_sums(embeddings[0]),
}


@pytest.mark.parametrize("name", WITH_ARRAYS)
@pytest.mark.parametrize("convert", [np.asarray, lambda tensor: tensor.tolist()], ids=["array", "list"])
def test_arrays_and_lists_are_refused_in_words(name, convert):
    embeddings = torch.randn(12, 6, generator=seeded())
    with pytest.raises(TypeError, match=r"must be a torch.Tensor, got (numpy.ndarray|list): torch.as_tensor\(\w+\)"):
        WITH_ARRAYS[name](convert(embeddings), LABELS)
    if not name.startswith(("loss", "miner")) and WITH_ARRAYS[name] not in (negative_weights, *BY_LABEL):
        return
    with pytest.raises(TypeError, match=r"labels must be a torch.Tensor, got (numpy.ndarray|list): torch.as_tensor\(l"):
        WITH_ARRAYS[name](embeddings, convert(LABELS))


BY_LABEL = (retrieval_metrics, score_queries, FUNCTIONS["examine_queries"])


def test_an_array_as_gallery_or_as_triplets_is_refused_in_words():
    embeddings = torch.randn(12, 6, generator=seeded())
    with pytest.raises(TypeError, match=r"gallery must be a torch.Tensor, got numpy.ndarray"):
        retrieval_metrics(embeddings, LABELS, gallery=embeddings.numpy(), gallery_labels=LABELS)
    with pytest.raises(TypeError, match=r"gallery_labels must be a torch.Tensor, got numpy.ndarray"):
        retrieval_metrics(embeddings, LABELS, gallery=embeddings, gallery_labels=LABELS.numpy())
    with pytest.raises(TypeError, match=r"negatives must be a torch.Tensor, got list"):
        triplet_margin_loss(embeddings, *TRIPLETS[:2], [4, 0], margin=0.2)


def test_every_public_function_is_tried_here():
    functions = {name for name in metric.__all__ if inspect.isfunction(getattr(metric, name))}
    assert functions - set(WITH_ARRAYS) == {"shard_sizes", "shard_slice"}


def test_the_example_of_the_page_runs():
    section = PAGE.read_text().partition("## MDR in your own training loop")[2]
    (code,) = re.findall(r"\n\n((?:    .*\n|\n)+)", section)[:1]
    model = torch.nn.Linear(5, 6)
    scope = {"model": model, "images": torch.randn(12, 5), "labels": LABELS, "triplet_loss": TripletMarginLoss()}
    exec(compile("\n".join(line[4:] for line in code.splitlines()), str(PAGE), "exec"), scope)
    scope["loss"].backward()
    assert model.weight.grad.isfinite().all()
    assert scope["mdr"].levels.grad.any()
    assert {"recall_at_1", "map_at_r", "r_precision"} < scope["metrics"].keys()
