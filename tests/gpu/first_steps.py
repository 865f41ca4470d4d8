"""One training step on a device: its losses and gradients, to be compared with those of the same step elsewhere."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.training import Ranks, TrialSession

TRIAL: dict[str, Any] = {
    "augmentation": "none",  # its float32 is rounded elsewhere
    "batch": {"size": 24, "images_per_class": 4},
    "embedding": {"size": 16},
    "mdr": {"weight": 0.5},
    "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.0},  # Adam's first step forgets a gradient's size
    "epochs": 3,
    "iterations_per_epoch": 1,
}


class Step(NamedTuple):
    """What a step computed: metrics of the training, and the gradient of all parameters, (P,) float64 on the CPU."""

    metrics: dict[str, float]
    gradient: torch.Tensor


def new_session(device: torch.device, dtype: torch.dtype = torch.float64, **changes: Any) -> TrialSession:
    """Return a session of TRIAL with other sections."""
    config = TrialConfig.model_validate({**TRIAL, **changes})
    return TrialSession(config, load_dataset(GlyphsDataConfig()), Ranks(device=device), dtype)


def first_step(device: torch.device, dtype: torch.dtype = torch.float64, **changes: Any) -> Step:
    """Return the first step of a new session."""
    session = new_session(device, dtype, **changes)
    metrics = session.train_epoch()
    parameters = [*session.model.parameters(), *session.objective.parameters()]
    gradients = [p.grad.flatten().double().cpu() for p in parameters if p.grad is not None]
    return Step(metrics, torch.cat(gradients))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the length of the difference of two gradients, in that of the other."""
    return float((one - other).norm() / other.norm())


def worst_metric(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the largest difference of two steps' metrics, relative where they are above 1."""
    assert one.keys() == other.keys()
    return max(abs(one[key] - other[key]) / max(1.0, abs(other[key])) for key in other)
