"""What a trial may say: choices that go together, those that do not, and what `auto` stands for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mdr_tune.config.explain import explain
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.config.trial import TrialConfig
from mdr_tune.util.errors import UserError


def problem(**trial: Any) -> str:
    """Return `key: message` of the only thing that is wrong."""
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate(trial)
    ((path, message),) = explain(caught.value, TrialConfig)
    return f"{'.'.join(path)}: {message}"


@pytest.mark.parametrize(
    ("loss", "mode", "miner"),
    [
        ("triplet", "rescale", "distance_weighted"),
        ("margin", "rescale", "distance_weighted"),
        ("contrastive", "rescale", "all"),
        ("n_pair", "rescale", "all"),
        ("multi_similarity", "l2", "multi_similarity"),
        ("proxy_nca", "l2", "all"),
        ("proxy_anchor", "l2", "all"),
        ("arcface", "l2", "all"),
        ("pml.CircleLoss", "l2", "all"),
        ("pml.TripletMarginLoss", "rescale", "all"),
    ],
)
def test_what_auto_stands_for(loss: str, mode: str, miner: str) -> None:
    config = TrialConfig.model_validate({"loss": loss})
    assert (config.embedding_mode, config.chosen_miner.name) == (mode, miner)
    flat = config.flat()
    assert (flat["loss.name"], flat["embedding.mode"], flat["miner.name"]) == (loss, mode, miner)
    assert TrialConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("trial", "frozen"),
    [
        ({}, False),
        ({"batch_norm": "frozen"}, True),
        ({"backbone": "resnet50"}, True),
        ({"backbone": {"name": "resnet50", "weights": "none"}}, False),
        ({"backbone": {"name": "conv4", "weights": "conv4.pth"}}, True),
        ({"backbone": "resnet50", "batch_norm": "synced"}, False),
    ],
)
def test_batch_norm_is_frozen_where_weights_are_trained(trial: dict[str, Any], frozen: bool) -> None:
    config = TrialConfig.model_validate(trial)
    assert config.freezes_batch_norm == frozen
    assert config.flat()["batch_norm"] == ("frozen" if frozen else "synced")


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ({"loss": {"name": "triplet", "margin": -0.1}}, "loss.margin: must be greater than or equal to 0, got -0.1"),
        ({"loss": {"name": "triplet", "margin": 3}, "embedding": {"mode": "l2"}}, "loss.margin: 3.0 cannot be met"),
        ({"loss": {"name": "contrastive", "pos_margin": 1.5}}, "loss: pos_margin 1.5 must be below neg_margin 1.0"),
        ({"loss": {"name": "margin", "margin": 1.3}}, "loss: margin 1.3 must be below beta 1.2"),
        ({"loss": {"name": "arcface", "margin": 200.0}}, "loss.margin: must be less than 180"),
        ({"loss": {"name": "proxy_anchor", "alpha": 0.0}}, "loss.alpha: must be greater than 0"),
        (
            {"loss": {"name": "arcface", "margn": 1.0}},
            "loss.margn: unknown key. Did you mean 'margin'? Known here: margin",
        ),
        ({"loss": {"name": "arcface", "num_classes": 10}}, "loss.num_classes: num_classes comes from the data set"),
        ({"loss": "tripled"}, "loss.name: unknown loss 'tripled'. Did you mean 'triplet'? Known: triplet, contrastive"),
        ({"loss": 3}, "loss: expected a name, or a mapping with a name, got 3"),
        ({"loss": "arcface", "embedding": {"mode": "rescale"}}, "embedding.mode: rescale makes no sense with arcface"),
        ({"loss": "pml.CircleLoss", "embedding": {"mode": "none"}}, "embedding.mode: none makes no sense with pml."),
        ({"loss": "arcface", "miner": "hard"}, "miner.name: arcface takes no mined pairs"),
        ({"loss": "pml.PNPLoss", "miner": "hard"}, "miner.name: pml.PNPLoss takes no mined pairs"),
        ({"miner": {"name": "semi_hard", "margin": 0.0}}, "miner.margin: must be greater than 0"),
        (
            {"miner": {"weight": "stable"}},
            "miner.weight: unknown key. Did you mean 'weights'? Known here: name, weights.",
        ),
        ({"optimizer": {"momentum": 0.5}}, "optimizer.momentum: is of sgd"),
        (
            {"optimizer": {"schedule": "cosin"}},
            "optimizer.schedule.name: unknown schedule 'cosin'. Did you mean 'cosine'",
        ),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps: gradient accumulation is refused: MDR"),
        ({"optimizer": {"accumulate_grad_batches": 4}}, "optimizer.accumulate_grad_batches: gradient accumulation is"),
        ({"batch": {"chunk_size": 8}}, "batch.chunk_size: needs batch_norm: frozen"),
        ({"precision": "fp8"}, "precision: expected 'fp32', 'bf16' or 'fp16', got 'fp8' (text)"),
        ({"memory": {"size": 100}}, "memory.size: 100 does not hold a batch of 128 images: write 128 or more"),
        ({"memory": {"sise": 512}}, "memory.sise: unknown key. Did you mean 'size'?"),
        ({"memory": 512}, "memory: expected a mapping, got 512: write memory: {size: 512}"),
        ({"memory": {}, "loss": "proxy_anchor"}, "memory: proxy_anchor cannot compare a batch with a memory"),
        ({"memory": {}, "loss": "pml.FastAPLoss"}, "memory: pml.FastAPLoss cannot compare a batch with a memory"),
        (
            {"memory": {}, "loss": {"name": "pml.MarginLoss", "triplets_per_anchor": 5}},
            "loss.triplets_per_anchor: with a memory all triplets are compared",
        ),
    ],
)
def test_what_makes_no_sense_is_named_with_its_key(trial: dict[str, Any], message: str) -> None:
    assert problem(**trial).startswith(message)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"name": "pml.CircelLoss"}, "CircleLoss"),
        ({"name": "pml.CircleLoss", "margin": 0.4}, "margin"),
        ({"name": "pml.CircleLoss", "m": "much"}, "m"),
        ({"name": "pml.CircleLoss", "distance": "LpDistance"}, "distance"),
        ({"name": "pml.ArcFaceLoss", "num_classes": 10}, "num_classes"),
        ({"name": "pml.CrossBatchMemory"}, "CrossBatchMemory"),
        ({"name": "pml.VICRegLoss"}, "VICRegLoss"),
    ],
)
def test_a_library_loss_that_cannot_be_used_is_refused(loss: dict[str, Any], message: str) -> None:
    text = problem(loss=loss)
    assert text.startswith("loss")
    assert message in text


def test_what_does_not_go_together_in_a_space_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"

    def problem_of(space: str, more: str = "") -> str:
        file.write_text(f"name: x\nspace:\n  {space}\n{more}")
        with pytest.raises(UserError) as caught:
            read_sweep(file, [])
        return str(caught.value)

    both = "loss: [triplet, arcface]\n  embedding.mode: [auto, rescale]"
    assert "loss arcface, embedding.mode rescale do not go together: embedding.mode: rescale makes" in problem_of(both)
    assert "loss.name: other keys depend on it: search loss: {choice: [" in problem_of("loss.name: [triplet, margin]")
    assert "loss is searched as a whole" in problem_of("loss: [triplet]\n  loss.margin: [0.1, 0.2]")
    assert "there are none where loss, mdr or" in problem_of("loss: [triplet, margin]", "baselines: [triplet]\n")
    grid = "search: {sampler: grid, trials: 4}\n"
    assert "trials: a grid runs all of its combinations, 2 here" in problem_of("mdr.weight: [0.1, 0.2]", grid)
    assert "a grid needs values" in problem_of("mdr.weight: {uniform: [0.1, 0.2]}", "search: {sampler: grid}\n")


def test_keys_may_be_given_as_a_program_has_them(tmp_path: Path) -> None:
    levels, epochs = (-3, 0, 3), np.int64(2)
    keys = {"mdr": {"levels": levels}, "epochs": epochs, "data": {"name": "folder", "root": tmp_path}}
    written = {"mdr": {"levels": [-3, 0, 3]}, "epochs": 2, "data": {"name": "folder", "root": str(tmp_path)}}
    assert TrialConfig.from_keys(keys) == TrialConfig.from_keys(written)
    for other in (None, "trial.yaml"):
        with pytest.raises(UserError):
            TrialConfig.from_keys(other)  # type: ignore[arg-type]
