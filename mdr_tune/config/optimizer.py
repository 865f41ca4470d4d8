"""The optimisers and the schedules of learning rates that a file may name. To add one, add a class here.

A file is checked before torch is imported, so what builds an optimiser imports it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mdr_tune.config.base import KeyProblem, Named, StrictModel, one_of
from mdr_tune.config.units import EPOCHS, RATE

if TYPE_CHECKING:
    import torch


class Schedule(Named):
    """A schedule of learning rates that a file may name."""

    warmup_epochs: Annotated[float, EPOCHS] = Field(0.0, ge=0)
    """Epochs, fractions allowed, over which the learning rates rise linearly from 0, iteration by iteration."""

    def in_force(self, epochs: int) -> dict[str, Any]:
        """Return what makes a difference in so many epochs: two schedules of which it is equal train alike."""
        return self.model_dump()

    def never_reached(self, epochs: int) -> list[int]:
        """Return the milestones that so many epochs do not reach."""
        return []

    def factor(self, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
        """Return what the learning rates are multiplied by in one iteration of a trial, but for the warm-up.

        Args:
            iteration: From 0, over all epochs.
            iterations_per_epoch: Of the trial.
            epochs: Of the trial.
        """
        raise NotImplementedError


class MultiStepScheduleConfig(Schedule):
    """The learning rates are multiplied by `gamma` after each of the `milestones`."""

    name: Literal["multi_step"] = "multi_step"
    milestones: Annotated[list[Annotated[int, Field(ge=1)]], EPOCHS] = []
    """In epochs. The authors: 40, 60, 80 of 100. None: the learning rates are constant."""
    gamma: float = Field(0.2, gt=0, le=1)

    def in_force(self, epochs: int) -> dict[str, Any]:
        """All but milestones that no epoch is after, and `gamma` if no milestone is left."""
        passed = sorted(milestone for milestone in self.milestones if milestone < epochs and self.gamma < 1)
        return {**self.model_dump(), "milestones": passed, "gamma": self.gamma if passed else None}

    def never_reached(self, epochs: int) -> list[int]:
        """Return the milestones from the last epoch on."""
        return [milestone for milestone in self.milestones if milestone >= epochs]

    def factor(self, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
        """Return gamma to the power of the milestones that are passed."""
        passed = sum(milestone <= iteration // iterations_per_epoch for milestone in self.milestones)
        return float(self.gamma**passed)


class CosineScheduleConfig(Schedule):
    """The learning rates fall to 0 at the end of the trial along half a cosine, iteration by iteration."""

    name: Literal["cosine"]

    def factor(self, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
        """Return half of 1 plus the cosine of pi times the share of the trial that is done."""
        return 0.5 * (1.0 + math.cos(math.pi * iteration / (iterations_per_epoch * epochs)))


if TYPE_CHECKING:
    ScheduleConfig = Schedule
else:
    ScheduleConfig = one_of(Schedule, default="multi_step")


class Optimizer:
    """An optimiser that a file may name.

    Attributes:
        name: what a file calls it.
        torch_name: name of its class in `torch.optim`.
        usual_momentum: momentum unless a file gives one; None: it has moments of its own, and takes none.
    """

    name: ClassVar[str]
    torch_name: ClassVar[str]
    usual_momentum: ClassVar[float | None] = None

    @classmethod
    def copies_per_weight(cls, momentum: float | None) -> int:
        """Return how many numbers it remembers of each weight."""
        return 2

    @classmethod
    def build(
        cls, groups: list[dict[str, Any]], weight_decay: float, momentum: float | None, fused: bool | None
    ) -> "torch.optim.Optimizer":
        """Return a new optimiser.

        Args:
            groups: Parameters with their learning rates.
            weight_decay: Of all of them.
            momentum: That of the file, or the usual one.
            fused: As torch takes it.
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
        """Return one with momentum, none without."""
        return 1 if momentum else 0


OPTIMIZERS = {optimizer.name: optimizer for optimizer in Optimizer.__subclasses__()}
if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]


class OptimizerConfig(StrictModel):
    """On everything, the levels of MDR too, as the authors do."""

    name: OptimizerName = "adam"
    learning_rate: Annotated[float, RATE] = Field(1e-3, gt=0)
    """Of the backbone, of the levels, and of what has no rate of its own."""
    head_learning_rate: Annotated[float | None, RATE] = Field(None, gt=0)
    """Of the embedding layer; as `learning_rate` unless given."""
    loss_learning_rate: float | None = Field(None, gt=0)
    """Of the loss's own parameters (proxies, class weights, beta); as `learning_rate` unless given."""
    weight_decay: Annotated[float, RATE] = Field(1e-5, ge=0)
    """Added to the gradient by adam and sgd, decoupled in adamw."""
    momentum: float | None = Field(None, ge=0, lt=1)
    """Of sgd, 0.9 unless given."""
    clip_gradient_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient of all parameters together; null: not clipped."""
    schedule: ScheduleConfig = MultiStepScheduleConfig()

    def in_force(self, epochs: int, loss_has_parameters: bool) -> dict[str, Any]:
        """Return what makes a difference: two optimisers of which it is equal train alike.

        Args:
            epochs: Epochs of the trial.
            loss_has_parameters: Whether there is anything that `loss_learning_rate` is of.
        """
        return {
            **self.model_dump(),
            "head_learning_rate": self.head_learning_rate or self.learning_rate,
            "loss_learning_rate": (self.loss_learning_rate or self.learning_rate) if loss_has_parameters else None,
            "momentum": self.chosen_momentum,
            "schedule": self.schedule.in_force(epochs),
        }

    @property
    def chosen(self) -> type[Optimizer]:
        """The class that `name` is of."""
        return OPTIMIZERS[self.name]

    @property
    def chosen_momentum(self) -> float | None:
        """Momentum of sgd; None of another optimiser."""
        return self.chosen.usual_momentum if self.momentum is None else self.momentum

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> "OptimizerConfig":
        if self.momentum is not None and self.chosen.usual_momentum is None:
            raise KeyProblem("momentum", f"is of sgd; {self.name} has moments of its own: leave it out, or name: sgd")
        return self
