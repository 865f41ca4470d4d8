"""The optimisers and the schedules of learning rates that a sweep file may name. To add one, add a class here.

A sweep file is checked before torch is imported, so `Optimizer.build` imports torch.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mdr_tune.config.strict_model import KeyProblem, Named, StrictModel, added, one_of
from mdr_tune.config.units import EPOCHS, RATE

if TYPE_CHECKING:
    import torch


class Schedule(Named):
    """A schedule of learning rates that a sweep file may name."""

    warmup_epochs: Annotated[float, EPOCHS] = Field(0.0, ge=0)
    """Number of epochs, possibly a fraction, over which the learning rates rise linearly from 0 with each iteration."""

    def in_force(self, epochs: int) -> dict[str, Any]:
        """Return the values that affect a trial of `epochs` epochs. Equal values mean equal learning rates."""
        return self.model_dump()

    def never_reached(self, epochs: int) -> list[int]:
        """Return the milestones, in epochs, that a trial of `epochs` epochs does not reach."""
        return []

    def factor(self, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
        """Return the factor by which the learning rates are multiplied in `iteration` of a trial, counted from 0.

        A trial has `epochs` epochs of `iterations_per_epoch` iterations. The factor of the warm-up is not included.
        """
        raise NotImplementedError


class MultiStepScheduleConfig(Schedule):
    """Learning rates that are multiplied by `gamma` after each of the `milestones`."""

    name: Literal["multi_step"] = "multi_step"
    milestones: Annotated[list[Annotated[int, Field(ge=1)]], EPOCHS] = []
    """Milestones, in epochs. Without any, the rates are constant. MDR's authors use 40, 60 and 80, of 100 epochs."""
    gamma: float = Field(0.2, gt=0, le=1)

    def in_force(self, epochs: int) -> dict[str, Any]:
        """Return the values that affect a trial of `epochs` epochs: `gamma` and the milestones that the trial reaches.

        If `gamma` is 1, all milestones are left out. If no milestone is left, `gamma` is None.
        """
        passed = sorted(milestone for milestone in self.milestones if milestone < epochs and self.gamma < 1)
        return {**self.model_dump(), "milestones": passed, "gamma": self.gamma if passed else None}

    def never_reached(self, epochs: int) -> list[int]:
        """Return the milestones at or after the end of a trial of `epochs` epochs."""
        return [milestone for milestone in self.milestones if milestone >= epochs]

    def factor(self, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
        """Return `gamma` to the power of the number of milestones that the trial has passed."""
        passed = sum(milestone <= iteration // iterations_per_epoch for milestone in self.milestones)
        return float(self.gamma**passed)


class CosineScheduleConfig(Schedule):
    """Learning rates that fall along half a cosine with each iteration, and reach 0 at the end of the trial."""

    name: Literal["cosine"]

    def factor(self, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
        """Return (1 + cos(pi * t)) / 2, where t in [0, 1) is the share of the iterations that are done."""
        return 0.5 * (1.0 + math.cos(math.pi * iteration / (iterations_per_epoch * epochs)))


if TYPE_CHECKING:
    ScheduleConfig = Schedule
else:
    ScheduleConfig = one_of(Schedule, default="multi_step")


class Optimizer:
    """An optimiser that a sweep file may name.

    Attributes:
        torch_name: Name of the class in `torch.optim`.
        usual_momentum: Momentum if the sweep file gives none; None: the optimiser takes no momentum.
    """

    name: ClassVar[str]
    torch_name: ClassVar[str]
    usual_momentum: ClassVar[float | None] = None

    @classmethod
    def copies_per_weight(cls, momentum: float | None) -> int:
        """Return the number of values that the optimiser stores for each weight of the model, with this `momentum`."""
        return 2

    @classmethod
    def build(
        cls, groups: list[dict[str, Any]], weight_decay: float, momentum: float | None, fused: bool | None
    ) -> "torch.optim.Optimizer":
        """Return a new optimiser of `groups` of parameters, each with its learning rate, all with `weight_decay`.

        `momentum` is None for an optimiser that takes none. `fused` is the argument of torch's optimiser.
        """
        import torch

        options: dict[str, Any] = {} if momentum is None else {"momentum": momentum}
        optimizer: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, cls.torch_name)
        return optimizer(groups, weight_decay=weight_decay, fused=fused, **options)


class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015); the weight decay is added to the gradient."""

    name = "adam"
    torch_name = "Adam"


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019)."""

    name = "adamw"
    torch_name = "AdamW"


class SGD(Optimizer):
    """Gradient descent with momentum; the weight decay is added to the gradient."""

    name = "sgd"
    torch_name = "SGD"
    usual_momentum = 0.9

    @classmethod
    def copies_per_weight(cls, momentum: float | None) -> int:
        """Return 1 with momentum, 0 without momentum."""
        return 1 if momentum else 0


OPTIMIZERS = {optimizer.name: optimizer for optimizer in Optimizer.__subclasses__()}
if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]


class OptimizerConfig(StrictModel):
    """The optimiser of all parameters, including the levels of MDR, as in the code of MDR's authors."""

    name: OptimizerName = "adam"
    learning_rate: Annotated[float, RATE] = Field(1e-3, gt=0)
    """Learning rate of the backbone, of the levels, and of all parameters without a rate of their own."""
    head_learning_rate: Annotated[float | None, RATE] = Field(None, gt=0)
    """Learning rate of the head: the embedding layer, its hidden layers and a learned pooling. null: `learning_rate`.
    """
    layer_decay: float = added(1.0, gt=0, le=1)
    """Factor of the learning rates from block to block of the backbone, from its output to its input. The rate of a
    block is `learning_rate` times this factor to the power of the number of blocks after it. 1: all have one rate."""
    loss_learning_rate: float | None = Field(None, gt=0)
    """Learning rate of the loss's own parameters (proxies, class weights, beta). null: `learning_rate`."""
    weight_decay: Annotated[float, RATE] = Field(1e-5, ge=0)
    """Weight decay. adam and sgd add it to the gradient; in adamw it is decoupled from the gradient."""
    momentum: float | None = Field(None, ge=0, lt=1)
    """Momentum of sgd. null: 0.9. It is an error to give a momentum for another optimiser."""
    clip_gradient_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient, taken over all parameters together. null: the gradient is not clipped."""
    schedule: ScheduleConfig = MultiStepScheduleConfig()

    def in_force(
        self,
        epochs: int,
        loss_has_parameters: bool,
        head_has_parameters: bool = True,
        trains_backbone: bool = True,
    ) -> dict[str, Any]:
        """Return the values that affect a training of `epochs` epochs. Equal values train in the same way.

        The learning rates of the loss and of the head are None if these have no parameters. `layer_decay` is 1 if the
        backbone is not trained.
        """
        return {
            **self.model_dump(),
            "layer_decay": self.layer_decay if trains_backbone else 1.0,
            "head_learning_rate": (self.head_learning_rate or self.learning_rate) if head_has_parameters else None,
            "loss_learning_rate": (self.loss_learning_rate or self.learning_rate) if loss_has_parameters else None,
            "momentum": self.chosen_momentum,
            "schedule": self.schedule.in_force(epochs),
        }

    @property
    def chosen(self) -> type[Optimizer]:
        """Class of the optimiser that `name` stands for."""
        return OPTIMIZERS[self.name]

    @property
    def chosen_momentum(self) -> float | None:
        """Momentum that is used: the given one, or else the usual one. None for an optimiser that takes no momentum."""
        return self.chosen.usual_momentum if self.momentum is None else self.momentum

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> "OptimizerConfig":
        if self.momentum is not None and self.chosen.usual_momentum is None:
            raise KeyProblem("momentum", f"is of sgd; {self.name} has moments of its own: leave it out, or name: sgd")
        return self
