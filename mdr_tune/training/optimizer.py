"""The optimiser of a trial: which parameters have which learning rate, and how the rates change."""

import functools
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mdr_tune.config.optimizer import SGD_MOMENTUM, OptimizerConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.objective import Objective
from mdr_tune.training.schedule import learning_rate_factor


def make_optimizer(config: OptimizerConfig, model: EmbeddingModel, objective: Objective) -> torch.optim.Optimizer:
    """Return the optimiser over backbone, embedding layer, the loss's parameters and the levels, in this order."""
    groups = [
        _group("backbone", model.backbone, config.learning_rate),
        _group("head", model.linear, config.head_learning_rate or config.learning_rate),
        _group("loss", objective.loss, config.loss_learning_rate or config.learning_rate),
        _group("levels", objective.mdr, config.learning_rate),
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "sgd":
        momentum = SGD_MOMENTUM if config.momentum is None else config.momentum
        return torch.optim.SGD(groups, weight_decay=config.weight_decay, momentum=momentum)
    optimizer = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return optimizer(groups, weight_decay=config.weight_decay)


def _group(name: str, module: nn.Module | None, learning_rate: float) -> dict[str, Any]:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad] if module else []
    return {"name": name, "params": trained, "lr": learning_rate}


def make_schedule(config: TrialConfig, optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Return the schedule of all learning rates, stepped once an iteration."""
    factor = functools.partial(
        _factor_at, config.optimizer.schedule, config.iterations_per_epoch, config.epochs
    )  # positional: LambdaLR passes the iteration last
    return LambdaLR(optimizer, factor)


def _factor_at(schedule: Any, iterations_per_epoch: int, epochs: int, iteration: int) -> float:
    return learning_rate_factor(schedule, iteration, iterations_per_epoch, epochs)
