"""One sweep: the shared trial, what is searched and how, the baselines, and the resources. One YAML file."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mdr_tune.config.base import StrictModel, by_name
from mdr_tune.config.space import Space
from mdr_tune.config.trial import TrialConfig


def _known_metric(metric: str) -> str:
    if re.fullmatch(r"val/(recall_at_[1-9]\d*|map_at_r|r_precision)", metric) is None:
        raise ValueError(
            f"unknown metric {metric!r}: give val/recall_at_1 (or another rank), val/map_at_r or val/r_precision"
        )
    return metric


class SchedulerConfig(StrictModel):
    """Which trials are stopped early."""

    name: Literal["asha", "none"] = "asha"
    grace_epochs: int = Field(1, ge=1)
    """Epochs that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials goes on at each rung."""


class SearchConfig(StrictModel):
    """How the space is searched."""

    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """`grid`: every combination of the choices, once."""
    trials: int = Field(12, ge=1)
    baseline_trials: int | None = Field(None, ge=1)
    """Trials of each baseline; as many as `trials` unless given."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the sampler. The training's seed is `trial.seed`."""
    scheduler: Annotated[SchedulerConfig, BeforeValidator(by_name)] = SchedulerConfig()


def _auto_or_count(value: Any) -> Any:
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"expected auto or a whole number, got {value!r}")
    return value


Count = Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)]


class ResourcesConfig(StrictModel):
    """What a trial may use. `auto` is decided from the machine or cluster found at launch."""

    workers_per_trial: int = Field(1, ge=1)
    """DDP ranks of a trial, one process each."""
    lanes: Count = "auto"
    """Trials that run side by side."""
    cpus_per_worker: int = Field(1, ge=1)
    gpus_per_worker: Count = "auto"
    """`auto`: 1 where there are GPUs, else 0."""
    lane_restarts: int = Field(8, ge=0)
    """How often a lane may lose a worker and start anew."""
    stuck_worker_timeout_s: float = Field(120.0, gt=0)
    """When one worker of a trial failed: how long the others may stay silent before the lane is restarted."""

    @model_validator(mode="after")
    def _at_least_one_lane(self) -> "ResourcesConfig":
        if self.lanes == 0:
            raise ValueError("lanes: must be auto or at least 1")
        return self


class SweepConfig(StrictModel):
    """The whole file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    """MLflow experiment and registered model."""
    metric: Annotated[str, AfterValidator(_known_metric)] = "val/recall_at_1"
    """What is maximised, on validation classes."""
    trial: TrialConfig = TrialConfig()
    search: SearchConfig = SearchConfig()
    space: Space = {}
    start_from: list[dict[str, Any]] = []
    """Points tried first."""
    baselines: list[str] = []
    """`<loss>`: the same without MDR; `<loss>_l2`: without MDR, on the unit sphere. Searched with the same budget
    over what remains of the space."""
    checkpoints: Literal["best", "last", "all"] = "best"
    """Which checkpoints of a trial become artifacts of its MLflow run."""
    resources: ResourcesConfig = ResourcesConfig()
