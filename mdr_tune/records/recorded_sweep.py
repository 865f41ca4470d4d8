"""A sweep as MLflow records it: the tracking layer reads it, and the report layer shows it."""

import datetime
from dataclasses import dataclass, field

from mdr_tune.records.metrics import EPOCHS_KEY
from mdr_tune.records.objectives import best_key
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.trial_record import TrialRecord


def mean_key(metric: str) -> str:
    """Return the name of the metric with the mean, over seeds, of the best `metric`: `val/mean_best_recall_at_1`."""
    group, name = best_key(metric).rsplit("/", 1)
    return f"{group}/mean_{name}"


def second_key(second_metric: str) -> str:
    """Return the name of the metric with a trial's value of `second_metric`, such as `objective/images_per_s`."""
    return f"objective/{second_metric.split('/')[-1]}"


@dataclass(frozen=True)
class RecordedTrial:
    """One trial as its MLflow run records it, with the last value of each of its `metrics`.

    The history in its `record` is empty if the values of the single epochs were not read.
    """

    record: TrialRecord
    run_id: str
    metrics: dict[str, float]

    @property
    def epochs(self) -> int:
        """Number of epochs done. It is right even if the history was not read."""
        return self.record.epochs or int(self.metrics.get(EPOCHS_KEY, 0))


@dataclass(frozen=True)
class SweepRecords:
    """One launch of a sweep, as MLflow records it.

    Attributes:
        name: Name of the sweep and of the MLflow experiment.
        parent_run_id: Id of the launch's run.
        status: Status of the launch's run: RUNNING, FINISHED, FAILED or KILLED.
        metric: Name of the metric that is maximised.
        second_metric: Name of the second objective; None if there is one objective.
        trials: Trials, in the order in which they started.
        finalists: Number of each arm's configurations that get further seeds after its search; None if the sweep does
            not choose finalists.
    """

    name: str
    experiment_id: str
    parent_run_id: str
    status: str
    metric: str
    second_metric: str | None
    trials: list[RecordedTrial]
    read_at: datetime.datetime = field(default_factory=datetime.datetime.now)
    finalists: int | None = None

    @property
    def records(self) -> list[TrialRecord]:
        """Records of the trials."""
        return [trial.record for trial in self.trials]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that are maximised, one or two."""
        return [self.metric, *([self.second_metric] if self.second_metric else [])]


@dataclass(frozen=True)
class SweepFacts:
    """Circumstances of a launch, for readers who want to repeat it or to judge it.

    Attributes:
        ended: Time at which the launch ended; None while it runs.
        command: Command line that the user typed.
        protocol: `validation`: epochs and configurations were chosen on validation classes, and the test classes were
            read only for the results that the report names. `paper`: the best epoch was chosen on the test classes.
        sampler: Name of the search's sampler. `grid` means that every combination was trained: an ablation.
        seeds: Training seeds of each configuration.
        epochs: Number of epochs of a whole trial; several numbers if the search varies the number.
        workers_per_trial: Number of DDP ranks of a trial.
        images: Numbers of images and classes in words, by the split's name, and under `content` a hash of all images.
        versions: Versions of the packages and of Python, by name.
        commit: Git commit of the source, with `+ changes` if files differed from it; None without a Git repository.
        devices: Devices that the trials ran on.
        sweep_file: Text of the sweep file, in YAML.
        folds: Number of folds in which each configuration was trained; None without a cross-validation.
    """

    started: datetime.datetime
    ended: datetime.datetime | None
    command: str
    protocol: str
    sampler: str
    seeds: list[int]
    epochs: list[int]
    workers_per_trial: int
    images: dict[str, str]
    versions: dict[str, str]
    commit: str | None
    devices: list[str]
    sweep_file: str
    folds: int | None = None


@dataclass(frozen=True)
class SweepEvidence:
    """Everything that a report on one launch is made of. It is read from MLflow alone.

    Attributes:
        sweep: Records of the launch. Its trials have all metrics of all epochs, and their distance snapshots.
        details: Results of each evaluation on the test classes, by the name of the evaluated trial.
        deleted: Names of the trials that were deleted in MLflow.
    """

    sweep: SweepRecords
    facts: SweepFacts
    details: dict[str, TestDetails] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
