"""The options of a training: each against an independent computation, or against a training without it."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.optimizers import OPTIMIZERS, OptimizerConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.training import EmbeddingModel, TrialSession
from mdr_tune.training.global_draws import make_draws_global
from mdr_tune.training.optimizer import load_optimizer_state
from mdr_tune.training.schedule import learning_rate_factor, warmup_factor

TRIAL: dict[str, Any] = {
    "batch": {"size": 16, "images_per_class": 4},
    "embedding": {"size": 8},
    "optimizer": {"learning_rate": 1e-3},
    "epochs": 4,
    "iterations_per_epoch": 3,
}


def new_session(dtype: torch.dtype = torch.float32, **changes: Any) -> TrialSession:
    return TrialSession(TrialConfig.model_validate({**TRIAL, **changes}), load_dataset(GlyphsDataConfig()), dtype=dtype)


def torch_rates(make_schedule: Any, iterations: int) -> list[float]:
    """Return the factors that one of torch's own schedules gives, iteration by iteration."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = make_schedule(optimizer), []
    for _ in range(iterations):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


def test_the_schedules_are_torchs() -> None:
    schedules = torch.optim.lr_scheduler
    steps = OptimizerConfig.model_validate({"schedule": {"milestones": [1, 3], "gamma": 0.2}}).schedule
    cosine = OptimizerConfig.model_validate({"schedule": "cosine"}).schedule
    ours = [learning_rate_factor(steps, i, 5, 4) for i in range(20)]
    assert ours == pytest.approx(torch_rates(lambda o: schedules.MultiStepLR(o, [5, 15], 0.2), 20))
    ours = [learning_rate_factor(cosine, i, 5, 4) for i in range(20)]
    assert ours == pytest.approx(torch_rates(lambda o: schedules.CosineAnnealingLR(o, 20), 20))


def test_warm_up_rises_linearly_by_the_iteration() -> None:
    schedule = OptimizerConfig.model_validate({"schedule": {"milestones": [2], "warmup_epochs": 1.5}}).schedule
    factors = [learning_rate_factor(schedule, i, 4, 4) for i in range(9)]
    assert factors == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1, 0.2])
    assert [warmup_factor(e, 2.0) for e in (0.5, 2.0, 5.0)] == [0.25, 1.0, 1.0]
    assert warmup_factor(0.0, 0.0) == 1.0


def test_each_part_of_the_model_has_its_learning_rate() -> None:
    metrics = new_session(
        loss="proxy_anchor",
        optimizer={
            "learning_rate": 1e-3,
            "head_learning_rate": 1e-2,
            "loss_learning_rate": 0.1,
            "schedule": {"milestones": [1], "gamma": 0.5},
        },
    )
    first, second = metrics.train_epoch(), metrics.train_epoch()
    for epoch, factor in ((first, 1.0), (second, 0.5)):
        assert epoch["train/learning_rate"] == pytest.approx(1e-3 * factor)
        assert epoch["train/head_learning_rate"] == pytest.approx(1e-2 * factor)
        assert epoch["train/loss_learning_rate"] == pytest.approx(0.1 * factor)
        assert "train/levels_learning_rate" not in epoch  # as the backbone's


def test_sgd_moves_each_part_by_its_learning_rate() -> None:
    def moved(**rates: float) -> dict[str, torch.Tensor]:
        optimizer = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, **rates}
        session = new_session(torch.float64, loss="proxy_anchor", optimizer=optimizer, iterations_per_epoch=1)
        modules = {"model": session.model, "objective": session.objective}
        before = {f"{m}.{n}": p.detach().clone() for m, module in modules.items() for n, p in module.named_parameters()}
        session.train_epoch()
        after = {f"{m}.{n}": p.detach() for m, module in modules.items() for n, p in module.named_parameters()}
        return {name: after[name] - before[name] for name in before}

    base = moved(learning_rate=1e-3)
    own = moved(learning_rate=1e-3, head_learning_rate=1e-2, loss_learning_rate=0.1)
    for name, change in own.items():
        factor = 10 if "model.linear" in name else 100 if "objective.loss" in name else 1
        torch.testing.assert_close(change, factor * base[name], rtol=1e-9, atol=1e-15, msg=name)
    assert any("objective.loss" in name for name in own)


def test_gradients_are_clipped_together() -> None:
    optimizer = {"name": "sgd", "learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.0, "clip_gradient_norm": 0.05}
    session = new_session(torch.float64, optimizer=optimizer, iterations_per_epoch=1)
    parameters = [*session.model.parameters(), *session.objective.parameters()]
    before = [p.detach().clone() for p in parameters]
    norm = session.train_epoch()["train/gradient_norm"]
    moved = torch.cat([(p - b).flatten() for p, b in zip(parameters, before, strict=True)]).norm().item()
    assert norm > 0.05
    assert moved == pytest.approx(0.05, rel=1e-4)  # torch divides by norm + 1e-6


def test_the_weight_of_mdr_warms_up() -> None:
    session = new_session(mdr={"weight": 0.8, "warmup_epochs": 2.0}, iterations_per_epoch=1, epochs=3)
    for factor in (0.5, 1.0, 1.0):
        metrics = session.train_epoch()
        before = session.config.mdr and session.config.mdr.level_decay
        assert metrics["mdr/weight"] == pytest.approx(0.8 * factor)
        decay = metrics["train/loss"] - metrics["train/dml_loss"] - 0.8 * factor * metrics["train/mdr_loss"]
        assert decay == pytest.approx(before * 18, abs=2e-3)


def test_fixed_levels_stay_and_do_not_decay() -> None:
    session = new_session(mdr={"weight": 0.5, "levels": [-1.0, 2.0], "learn_levels": False})
    metrics = session.train_epoch()
    assert (metrics["mdr/level_0"], metrics["mdr/level_1"]) == (-1.0, 2.0)
    assert metrics["train/loss"] == pytest.approx(metrics["train/dml_loss"] + 0.5 * metrics["train/mdr_loss"], abs=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 5, 16, 100])
def test_a_batch_in_chunks_has_the_gradients_of_the_whole(chunk_size: int) -> None:
    trial = {"batch_norm": "frozen", "optimizer": {"name": "sgd", "learning_rate": 0.1}}
    chunks = {"size": 16, "images_per_class": 4, "chunk_size": chunk_size}
    whole, chunked = new_session(torch.float64, **trial), new_session(torch.float64, **trial, batch=chunks)
    for _ in range(2):
        assert chunked.train_epoch() == pytest.approx(whole.train_epoch(), rel=1e-9)
    torch.testing.assert_close(chunked.model.state_dict(), whole.model.state_dict(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(chunked.objective.state_dict(), whole.objective.state_dict(), rtol=1e-9, atol=1e-12)


def test_what_is_dropped_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    build = EmbeddingModel.from_config

    def with_dropout(config: TrialConfig, **options: Any) -> EmbeddingModel:
        model = build(config, **options)
        model.backbone.blocks.append(nn.Dropout(0.3))
        return model

    monkeypatch.setattr(EmbeddingModel, "from_config", with_dropout)
    trial = {"batch_norm": "frozen", "optimizer": {"name": "sgd", "learning_rate": 0.1}}
    whole = new_session(torch.float64, **trial)
    chunked = new_session(torch.float64, **trial, batch={"size": 16, "images_per_class": 4, "chunk_size": 5})
    monkeypatch.undo()
    without = new_session(torch.float64, **trial)
    metrics = whole.train_epoch()
    assert chunked.train_epoch() == pytest.approx(metrics, rel=1e-9)
    torch.testing.assert_close(chunked.model.state_dict(), whole.model.state_dict(), rtol=1e-9, atol=1e-12)
    assert without.train_epoch()["train/loss"] != pytest.approx(metrics["train/loss"], rel=1e-3)


def test_masks_are_those_of_the_global_batch() -> None:
    network = nn.Sequential(nn.Dropout(0.25), nn.Sequential(StochasticDepth(0.5, "row")))
    draws = make_draws_global(network)
    images = torch.ones(4000, 3, 2)
    draws.at((0, 1, 2), 4000, slice(0, 4000))
    whole = network(images)
    parts = []
    for rows in (slice(0, 7), slice(7, 1000), slice(1000, 4000)):
        draws.at((0, 1, 2), 4000, rows)
        parts.append(network(images[rows]))
    assert torch.equal(torch.cat(parts), whole)
    assert whole.unique().tolist() == pytest.approx([0.0, 1 / (0.75 * 0.5)])
    assert (whole == 0).double().mean().item() == pytest.approx(1 - 0.75 * 0.5, abs=0.03)
    assert (whole.flatten(1) == 0).all(1).double().mean().item() == pytest.approx(0.5, abs=0.03)  # whole images
    draws.at((0, 1, 3), 4000, slice(0, 4000))
    assert not torch.equal(network(images), whole)
    network.eval()
    assert torch.equal(network(images), images)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("batch_norm", ["synced", "frozen"])
def test_mixed_precision_stays_near_and_keeps_distances_in_float32(precision: str, batch_norm: str) -> None:
    full, mixed = new_session(batch_norm=batch_norm), new_session(batch_norm=batch_norm, precision=precision)
    seen: list[torch.dtype] = []
    mixed.objective.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    inside: list[torch.dtype] = []
    mixed.model.linear.register_forward_hook(lambda _, inputs, output: inside.append(output.dtype))
    one, other = full.train_epoch(), mixed.train_epoch()
    assert set(seen) == {torch.float32}
    assert set(inside) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert one != other
    for key in ("train/loss", "train/dml_loss", "train/mdr_loss", "mdr/mean"):
        assert other[key] == pytest.approx(one[key], rel=0.2)  # 0.06 has been seen
    assert all(p.dtype == torch.float32 for p in mixed.model.parameters())


def test_steps_that_overflowed_are_counted_and_leave_no_trace() -> None:
    session = new_session(precision="fp16", optimizer={"clip_gradient_norm": 0.5})
    session._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)  # its first steps overflow, whatever the loss
    metrics = session.train_epoch()
    assert metrics["train/skipped_steps"] == 3
    assert metrics["train/learning_rate"] == 1e-3
    session._scaler.update(2.0**10)
    metrics = session.train_epoch()
    assert metrics["train/skipped_steps"] == 0
    assert math.isfinite(metrics["train/gradient_norm"])


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_changes_rounding_only(channels_last: bool) -> None:
    session = new_session(torch.float64, channels_last=channels_last)
    weight = next(p for p in session.model.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert session.train_epoch()["train/loss"] == pytest.approx(new_session(torch.float64).train_epoch()["train/loss"])


OPTIONS: dict[str, dict[str, Any]] = {
    "proxies, clipping, cosine, warm-ups": {
        "loss": "proxy_anchor",
        "mdr": {"warmup_epochs": 3.0},
        "optimizer": {
            "name": "adamw",
            "clip_gradient_norm": 0.5,
            "schedule": {"name": "cosine", "warmup_epochs": 1.5},
        },
    },
    "fp16 with its scaler, sgd": {"precision": "fp16", "optimizer": {"name": "sgd", "learning_rate": 0.01}},
    "a network that draws at random": {
        "backbone": {"name": "efficientnet_b0", "weights": "none"},
        "batch": {"size": 8, "images_per_class": 4},
        "iterations_per_epoch": 1,
    },
    "a network of timm that draws at random, bf16": {
        "backbone": {"name": "timm.test_vit", "weights": "none", "drop_path_rate": 0.3, "patch_drop_rate": 0.4},
        "precision": "bf16",
        "iterations_per_epoch": 2,
    },
    "a loss that draws at random": {"loss": {"name": "pml.TripletMarginLoss", "triplets_per_anchor": 2}},
    "chunks": {"batch_norm": "frozen", "batch": {"size": 16, "images_per_class": 4, "chunk_size": 5}},
    "a memory, bf16": {"precision": "bf16", "memory": {"size": 40, "start_epoch": 0.5, "mdr": "both"}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_trial_gives_the_bits_of_an_undisturbed_one(name: str) -> None:
    undisturbed = new_session(**OPTIONS[name])
    undisturbed.train_epoch()
    state = {key: _copy(value) for key, value in undisturbed.state_dict().items()}
    expected = undisturbed.train_epoch()
    torch.rand(3)  # a used global generator
    resumed = new_session(**OPTIONS[name])
    resumed.load_state_dict(state)
    assert resumed.train_epoch() == expected
    torch.testing.assert_close(resumed.model.state_dict(), undisturbed.model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(resumed.objective.state_dict(), undisturbed.objective.state_dict(), rtol=0, atol=0)


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("mode", "size"), list(itertools.product(["rescale", "l2", "none"], [64, 1024])))
def test_every_embedding_mode_trains_at_every_size(mode: str, size: int) -> None:
    metrics = new_session(embedding={"mode": mode, "size": size}, iterations_per_epoch=1).run_epoch()
    assert metrics["train/loss"] > 0
    assert metrics["val/recall_at_1"] > 0


@pytest.mark.slow
def test_a_compiled_network_trains_alike() -> None:
    eager, compiled = new_session(), new_session(compile=True)
    for _ in range(2):
        one, other = eager.run_epoch(), compiled.run_epoch()
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-3)
    assert set(compiled.state_dict()["model"]) == set(eager.state_dict()["model"])


def test_every_model_of_a_process_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own limit is eight models, then it runs them as they are."""
    compiled = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        compiled.append(len(inputs))
        return graph.forward

    compile_with = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: compile_with(model, backend=backend))
    for number in range(10):
        before = len(compiled)
        session = new_session(compile=True, embedding={"size": 4 + number})
        session.train_epoch()
        assert len(compiled) > before


DROPS = {"drop_rate": 0.1, "drop_path_rate": 0.2, "attn_drop_rate": 0.1, "proj_drop_rate": 0.1, "patch_drop_rate": 0.3}


@pytest.mark.parametrize(
    "backbone",
    [
        {"name": "efficientnet_b0", "weights": "none"},
        {"name": "timm.test_vit", "weights": "none", **DROPS},
        {"name": "timm.test_byobnet", "weights": "none", "drop_rate": 0.1, "drop_path_rate": 0.2},
    ],
    ids=lambda backbone: str(backbone["name"]),
)
def test_a_network_that_drops_is_compiled_in_one_piece(
    backbone: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 layers of the first drop. Torch compiles eight pieces of one code at most."""
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    compile_with = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda model: compile_with(model, backend=backend))
    trial = {
        "backbone": backbone,
        "batch_norm": "frozen",
        "iterations_per_epoch": 2,
    }
    eager, compiled = new_session(**trial), new_session(compile=True, **trial)
    for _ in range(2):
        assert compiled.train_epoch()["train/loss"] == pytest.approx(eager.train_epoch()["train/loss"], rel=1e-4)
    assert len(graphs) == 1


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("fused", [True, None])
def test_the_state_of_a_gpus_optimizer_goes_on_on_a_cpu_and_the_reverse(name: str, fused: bool | None) -> None:
    """GPUs get the fused optimiser, which keeps its counts of steps elsewhere. Torch has it for CPUs too."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    options: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
    start = torch.randn(7, generator=torch.Generator().manual_seed(0))
    parameters = [nn.Parameter(start.clone()) for _ in range(2)]
    first, whole = (kind([parameter], lr=0.1, fused=fused, **options) for parameter in parameters)
    for _ in range(3):
        _step(whole, parameters[1])
    _step(first, parameters[0])
    other = kind([parameters[0]], lr=0.1, fused=None if fused else True, **options)
    load_optimizer_state(other, first.state_dict())
    assert other.param_groups[0]["fused"] is (None if fused else True)
    for _ in range(2):
        _step(other, parameters[0])
    torch.testing.assert_close(parameters[0], parameters[1])


def _step(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    parameter.grad = parameter.detach().square()
    optimizer.step()
