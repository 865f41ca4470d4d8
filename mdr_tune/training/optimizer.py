"""Make the optimiser of a trial, set its learning rates, and load its state."""

from typing import Any

import torch
from torch import nn

from mdr_tune.config.optimizers import OptimizerConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.training.fine_tuning import by_block
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.objective import Objective
from mdr_tune.training.schedule import learning_rate_factor


def make_optimizer(config: OptimizerConfig, model: EmbeddingModel, objective: Objective) -> torch.optim.Optimizer:
    """Return the optimiser of the parameters of `model` and `objective` that `config` asks for.

    Its parameter groups are, in this order, `backbone`, `head` (everything behind the backbone), `loss` (the loss's
    parameters) and `levels` (the levels of MDR). A group without parameters to train is left out. With a layer decay,
    each block of the backbone is a group `backbone`. On a GPU the optimiser is torch's fused one, which updates many
    parameters in one kernel and does not wait for the GPU.
    """
    groups = [
        *_backbone_groups(config, model),
        _group("head", model.head, config.head_learning_rate or config.learning_rate),
        _group("loss", objective.loss, config.loss_learning_rate or config.learning_rate),
        _group("levels", objective.mdr, config.learning_rate),
    ]
    groups = [group for group in groups if group["params"]]
    fused = True if groups[0]["params"][0].device.type == "cuda" else None
    return config.chosen.build(groups, config.weight_decay, config.chosen_momentum, fused)


def _backbone_groups(config: OptimizerConfig, model: EmbeddingModel) -> list[dict[str, Any]]:
    """Return the backbone's groups, with the layer decay of BEiT (Bao et al., ICLR 2022), but none for the head."""
    if config.layer_decay == 1:
        return [_group("backbone", model.backbone, config.learning_rate)]
    rates = [(trained, config.learning_rate * config.layer_decay**after) for trained, after in by_block(model.backbone)]
    return [{"name": "backbone", "params": trained, "lr": rate, "initial_lr": rate} for trained, rate in rates]


def _group(name: str, module: nn.Module | None, learning_rate: float) -> dict[str, Any]:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad] if module else []
    return {"name": name, "params": trained, "lr": learning_rate, "initial_lr": learning_rate}


def set_learning_rates(optimizer: torch.optim.Optimizer, config: TrialConfig, iteration: int) -> dict[str, float]:
    """Set the learning rates in `optimizer` for an `iteration`, counted from 0 over all epochs; return them as metrics.

    The rates follow from the trial's `config` and the number of the iteration alone. So there is no state of a schedule
    to save, and a skipped fp16 step does not shift the schedule. The metrics are `train/learning_rate`, that of the
    backbone's last block, and `train/<group>_learning_rate` for each other group that has another learning rate.
    """
    factor = learning_rate_factor(config.optimizer.schedule, iteration, config.iterations_per_epoch, config.epochs)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    usual = config.optimizer.learning_rate * factor
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups if group["name"] != "backbone"}
    own = {f"train/{name}_learning_rate": rate for name, rate in rates.items() if rate != usual}
    return {"train/learning_rate": usual, **own}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load each parameter's state, such as its momentum, from the state dict `state`; keep the optimiser's settings.

    The settings in a checkpoint, such as learning rates, may not fit this trial. In population based training, a trial
    may take over the checkpoint of another trial with other settings. A checkpoint may also come from another type of
    device; its settings would then make torch keep the counts of steps on the wrong device.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = [
        {**settings, "params": group["params"]} for settings, group in zip(own, state["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})
