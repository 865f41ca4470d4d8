"""The configuration of a sweep, written as one YAML file: trial, search space, search, baselines and resources."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from mdr_tune.config.datasets import ClassFold, DataConfig
from mdr_tune.config.domains import Space
from mdr_tune.config.other_names import meant_metric
from mdr_tune.config.samplers import SAMPLERS, Sampler, SamplerName
from mdr_tune.config.schedulers import AshaSchedulerConfig, SchedulerConfig
from mdr_tune.config.stop import StopConfig
from mdr_tune.config.strict_model import StrictModel, added, tag
from mdr_tune.config.trial import TrialConfig
from mdr_tune.config.units import SECONDS

MOST_TRIALS = 1_000_000
MOST_SEEDS = 10_000
MOST_FOLDS = 1_000
"""Largest numbers of trials, of seeds and of folds in a sweep file. A mistyped number is refused before it fills the
memory."""
PAPER_METRIC = "curves/test_recall_at_1"
"""Metric that is maximised with `trial.protocol: paper`, unless the sweep file gives another metric."""


_MAXIMISED = re.compile(
    r"(val/|curves/test_)"
    r"((recall|map|precision)_at_[1-9][0-9]{0,8}|map_at_r|r_precision|mrr|nmi|tar_at_far_[0-9.]+e-[0-9]+)"
)
"""Regular expression for the metrics that a search can maximise."""


def _known_metric(metric: str) -> str:
    if re.fullmatch(r"(val/|curves/test_)eer", metric):
        raise ValueError(f"{metric} is better when it is smaller, and a search maximises: give val/tar_at_far_1e-3")
    if _MAXIMISED.fullmatch(metric) is None:
        meant = meant_metric(metric)
        hint = f". Did you mean {meant}? Give" if meant is not None else ": give"
        raise ValueError(
            f"unknown metric {metric!r}{hint} val/recall_at_1 (or another rank), val/map_at_r, "
            "val/r_precision, or one of trial.metrics, such as val/map_at_10; with trial.protocol: paper "
            "curves/test_recall_at_1 and so on"
        )
    return metric


def _known_second_metric(metric: str | None) -> str | None:
    if metric in (None, "time/images_per_s"):
        return metric
    try:
        return _known_metric(str(metric))
    except ValueError as error:
        raise ValueError(f"{error}, or time/images_per_s") from None


class WarmStartConfig(StrictModel):
    """Another sweep in the same storage folder, whose best configurations are tried first.

    If this sweep's space cannot draw a value of such a configuration, the sampler draws another value.
    """

    sweep: str
    """Name of the other sweep. Its newest launch is read."""
    best: int = Field(5, ge=1)
    """Number of configurations that are taken, the best ones by the other sweep's own metric."""


StartFrom = Annotated[
    Annotated[list[dict[str, Any]], Tag(tag("points"))] | Annotated[WarmStartConfig, Tag(tag("sweep"))],
    Discriminator(lambda value: tag("sweep" if isinstance(value, dict | WarmStartConfig) else "points")),
]


def _different(seeds: list[int]) -> list[int]:
    twice = next((seed for i, seed in enumerate(seeds) if seed in seeds[:i]), None)
    if twice is not None:
        raise ValueError(f"{twice} is listed twice")
    return seeds


class SearchConfig(StrictModel):
    """The search: its sampler, number of trials, seeds and scheduler, and the conditions that end it."""

    sampler: SamplerName = "tpe"
    """`tpe`: tree-structured Parzen estimators; `gp`: a Gaussian process; `random`: uniform draws; `qmc`: a scrambled
    Sobol sequence, which covers the space more evenly than random draws; `cmaes`: evolution of a normal distribution;
    `grid`: every combination of the choices, once."""
    trials: int = Field(12, ge=1, le=MOST_TRIALS)
    baseline_trials: int | None = Field(None, ge=1, le=MOST_TRIALS)
    """Number of trials of each baseline. null: the number in `trials`."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the search: it determines the drawn configurations. The seed of the training is `trial.seed`."""
    seeds_per_trial: int = Field(1, ge=1, le=MOST_SEEDS)
    """Number of training seeds of each configuration whose first trial completes: `trial.seed` and the numbers after
    it. The configuration's value is the mean over them. If the first trial is stopped early or fails, no seeds follow.
    """
    finalists: int | None = added(None, ge=1)
    """Number of configurations of each arm that get the further seeds of `seeds_per_trial`: the best ones by the value
    of their first seed. They get them after the first seeds of all trials of the arm have ended. null: every
    configuration whose first trial completes gets them, at once."""
    seeds: (
        Annotated[
            list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST_SEEDS), AfterValidator(_different)
        ]
        | None
    ) = None
    """Training seeds of every configuration, in place of `trial.seed` and `seeds_per_trial`. They are meant for an
    ablation: all seeds are trained, even if the trial of the first seed fails. The scheduler must be `none`."""
    folds: int | None = added(None, ge=2, le=MOST_FOLDS)
    """Number of folds of a cross-validation in an ablation. The classes that are not test classes are cut into this
    many parts of nearly equal size. Every configuration is trained for each fold and seed, with the fold as validation
    classes and the others to train on. `seed` of `trial.data.validation` is the seed of the cut."""
    scheduler: SchedulerConfig = AshaSchedulerConfig()
    stop: StopConfig = StopConfig()

    @property
    def sampler_class(self) -> type[Sampler]:
        """Class of the sampler that `sampler` names."""
        return SAMPLERS[self.sampler]

    @property
    def may_repeat(self) -> bool:
        """True with population based training: trials may begin with the same configuration, and are changed later."""
        return self.scheduler.takes_over

    @property
    def trains_every_repeat(self) -> bool:
        """True if a configuration is trained with all of its seeds and folds, whatever becomes of the first trial."""
        return self.seeds is not None or self.folds is not None

    def training_seeds(self, first: int) -> list[int]:
        """Return the training seeds of a configuration: `seeds` if given, else `first` and the numbers after it."""
        return list(self.seeds) if self.seeds is not None else list(range(first, first + self.seeds_per_trial))


def _auto_or_count(value: Any) -> Any:
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"expected auto or a whole number, got {value!r}")
    return value


Count = Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)]


def _auto_or_share(value: Any) -> Any:
    """Check `value`, the number of GPUs of a worker, and return it.

    A fraction has at most four digits after the point, since Ray counts fractions of a GPU in ten-thousandths.
    """
    if value == "auto":
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"expected auto, 0, 1 or a fraction of a GPU such as 0.5, got {value!r}")
    if value > 1:
        raise ValueError(
            f"{value:g}: a worker computes on one GPU, and more would idle: set it to 1, and give a trial more GPUs by "
            "more workers (resources.workers_per_trial)"
        )
    if 0.5 < value < 1:
        raise ValueError(f"{value:g}: no second worker fits on a GPU beside such a one: set it to 1, or at most to 0.5")
    if round(value, 4) != value:
        raise ValueError(f"{value!r}: at most four digits after the point, such as 0.3333")
    return int(value) if value in (0, 1) else value


Share = Annotated[Literal["auto"] | int | float, BeforeValidator(_auto_or_share)]


class ResourcesConfig(StrictModel):
    """The resources of the trials. At launch, `auto` is replaced by a number that suits the machine or cluster."""

    workers_per_trial: Count = 1
    """Number of workers (DDP ranks, each a process) of a trial. `auto`: a number that uses as much of the hardware as
    possible, with at least 32 images of a batch for each worker."""
    lanes: Count = "auto"
    """Number of trials that run at once. `auto`: as many as fit, but in a search at most a quarter of its trials."""
    cpus_per_worker: int = Field(1, ge=1)
    gpus_per_worker: Share = "auto"
    """Number of GPUs of a worker. `auto`: 1 if there are GPUs, else 0. With a fraction, several trials share a GPU, and
    each has one worker: with 0.5, two trials share it."""
    placement: Literal["pack", "spread"] = "pack"
    """Placement of a trial's workers on a cluster. `pack`: on as few nodes as possible, so that gradients are exchanged
    within a node; `spread`: on as many as possible, so that each worker has a node's CPUs, disk and network."""
    accelerator_type: Annotated[str, Field(min_length=1)] | None = None
    """Kind of GPU to use on a cluster with several kinds, by Ray's name (`A10G`, `T4`, `A100`, `H100`)."""
    lane_restarts: int = Field(30, ge=0)
    """Number of times that a lane, a group of workers for one trial at a time, restarts after it lost a worker or a
    node. The next loss ends the lane."""
    stuck_worker_timeout_s: Annotated[float, SECONDS] = Field(120.0, gt=0)
    """Seconds that the other workers of a trial may stay silent after one failed. Then the lane is restarted."""

    stalled_worker_timeout_s: Annotated[float, SECONDS] = Field(600.0, gt=0)
    """Seconds without a training step or an evaluated batch of any worker of a trial after which the lane is restarted.
    The trial then goes on from its last checkpoint. If one worker hangs in a collective operation, all of them stop."""

    system_metrics: bool = added(True)
    """Whether MLflow gets how much the trials' machines are used: CPU, memory, disk, network and GPUs, every 10 s."""

    @property
    def shares_gpus(self) -> bool:
        """True if a worker gets a fraction of a GPU."""
        return self.gpus_per_worker not in ("auto", 0, 1)

    @model_validator(mode="after")
    def _can_be(self) -> "ResourcesConfig":
        if self.lanes == 0:
            raise ValueError("lanes: must be auto or at least 1")
        if self.workers_per_trial == 0:
            raise ValueError("workers_per_trial: must be auto or at least 1")
        if self.accelerator_type is not None and self.gpus_per_worker == 0:
            raise ValueError("accelerator_type: names a GPU, but gpus_per_worker is 0: leave one of them out")
        if self.shares_gpus and self.workers_per_trial not in ("auto", 1):
            raise ValueError(
                f"gpus_per_worker: {self.gpus_per_worker:g} is for trials of one worker, and workers_per_trial is "
                f"{self.workers_per_trial}: NCCL takes one worker of a trial for each GPU. Set one of them to 1"
            )
        return self


NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""Regular expression of the names that a sweep, and an MLflow experiment of this program, may have."""


class SweepConfig(StrictModel):
    """The content of a whole sweep file."""

    name: str = Field(pattern=f"^{NAME}$")
    """Name of the sweep. Its MLflow experiment and its registered model have the same name."""
    metric: Annotated[str, AfterValidator(_known_metric)] = "val/recall_at_1"
    """Metric that is maximised, on the validation classes, or with `trial.protocol: paper` on the test classes."""
    second_metric: Annotated[str | None, AfterValidator(_known_second_metric)] = None
    """Second metric that is maximised together with `metric`: time/images_per_s, or another metric of the validation
    classes. The result is the Pareto front: all trials that no other trial beats in both metrics."""
    trial: TrialConfig = TrialConfig()
    search: SearchConfig = SearchConfig()
    space: Space = {}
    start_from: StartFrom = []
    """Points of the search space that are tried first, each a mapping of searched keys to values. The mapping `{sweep:
    NAME, best: 5}` stands for the 5 best configurations of another sweep."""
    baselines: list[str] = []
    """Names of the baselines, by the name of the trial's loss. `<loss>`: the trial without MDR; `<loss>_l2`: also with
    embeddings on the unit sphere. Each has the same budget, and the space without MDR's keys and `embedding.mode`."""
    checkpoints: Literal["best", "last", "all"] = "best"
    """Checkpoints of a trial that are stored as artifacts of its MLflow run."""
    code: str | None = None
    """Folder with the modules that import paths such as my_losses:SoftTriple name. null: the folder of this file, then
    the working folder."""
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _metric_of_protocol(self) -> "SweepConfig":
        if self.trial.protocol == "paper" and "metric" not in self.model_fields_set:
            return self.model_copy(update={"metric": PAPER_METRIC})
        return self

    @property
    def training_seeds(self) -> list[int]:
        """The training seeds of a configuration. The first is used in its first trial."""
        return self.search.training_seeds(self.trial.seed)

    @property
    def num_repeats(self) -> int:
        """Number of trials that a configuration may get: one for each training seed, and each fold if there are folds.

        Trial k, from 0, has the seed `training_seeds[k // folds]` and the fold k % folds.
        """
        return len(self.training_seeds) * (self.search.folds or 1)

    @property
    def is_ablation(self) -> bool:
        """True if the sweep trains every combination of the choices to its end. The report then has a table of them."""
        return self.search.sampler_class.lists_all and self.search.scheduler.name == "none"


def with_fold(data: DataConfig, folds: int | None, fold: int) -> DataConfig:
    """Return `data` with the validation classes of `fold`, from 0, of `folds`; `data` itself if `folds` is None."""
    if folds is None:
        return data
    seed = getattr(getattr(data, "validation", None), "seed", 0)
    return data.model_copy(update={"validation": ClassFold(folds=folds, fold=fold, seed=seed)})


def repeated(config: dict[str, Any], seed: int, fold: int | None) -> dict[str, Any]:
    """Return the nested `config` of a trial with another training `seed`, and another `fold` unless it is None."""
    if fold is None:
        return {**config, "seed": seed}
    data = config["data"]
    return {**config, "seed": seed, "data": {**data, "validation": {**data["validation"], "fold": fold}}}
