"""The optimiser of a trial, its learning rates and their schedule."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mdr_tune.config.base import KeyProblem, StrictModel, by_name, choose_by_name, tag
from mdr_tune.config.units import EPOCHS, RATE

SGD_MOMENTUM = 0.9


class _Schedule(StrictModel):
    warmup_epochs: Annotated[float, EPOCHS] = Field(0.0, ge=0)
    """Epochs, fractions allowed, over which the learning rates rise linearly from 0, iteration by iteration."""

    def in_force(self, epochs: int) -> dict[str, Any]:
        """Return what makes a difference in so many epochs: two schedules of which it is equal train alike."""
        return self.model_dump()


class MultiStepScheduleConfig(_Schedule):
    """The learning rates are multiplied by `gamma` after each of the `milestones`."""

    name: Literal["multi_step"] = "multi_step"
    milestones: Annotated[list[Annotated[int, Field(ge=1)]], EPOCHS] = []
    """In epochs. The authors: 40, 60, 80 of 100. None: the learning rates are constant."""
    gamma: float = Field(0.2, gt=0, le=1)

    def in_force(self, epochs: int) -> dict[str, Any]:
        """All but milestones that no epoch is after, and `gamma` if no milestone is left."""
        passed = sorted(milestone for milestone in self.milestones if milestone < epochs and self.gamma < 1)
        return {**self.model_dump(), "milestones": passed, "gamma": self.gamma if passed else None}


class CosineScheduleConfig(_Schedule):
    """The learning rates fall to 0 at the end of the trial along half a cosine, iteration by iteration."""

    name: Literal["cosine"]


ScheduleConfig = Annotated[
    Annotated[MultiStepScheduleConfig, Tag(tag("multi_step"))] | Annotated[CosineScheduleConfig, Tag(tag("cosine"))],
    Discriminator(choose_by_name("multi_step")),
    BeforeValidator(by_name),
]


class OptimizerConfig(StrictModel):
    """On everything, the levels of MDR too, as the authors do."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
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
    def chosen_momentum(self) -> float | None:
        """Momentum of sgd; None of another optimiser."""
        return SGD_MOMENTUM if self.name == "sgd" and self.momentum is None else self.momentum

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> "OptimizerConfig":
        if self.momentum is not None and self.name != "sgd":
            raise KeyProblem("momentum", f"is of sgd; {self.name} has moments of its own: leave it out, or name: sgd")
        return self
