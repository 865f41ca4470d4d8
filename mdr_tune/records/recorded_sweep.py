"""A sweep as MLflow has it: what the tracking layer reads back, and the report layer shows."""

import datetime
from dataclasses import dataclass, field

from mdr_tune.records.metrics import EPOCHS_KEY
from mdr_tune.records.objectives import best_key
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.trial_record import TrialRecord


def mean_key(metric: str) -> str:
    """Return the name of the mean over the seeds: `val/mean_best_recall_at_1`."""
    group, name = best_key(metric).rsplit("/", 1)
    return f"{group}/mean_{name}"


def second_key(second_metric: str) -> str:
    """Return the name of what a trial's second objective came to: `objective/images_per_s`."""
    return f"objective/{second_metric.split('/')[-1]}"


@dataclass(frozen=True)
class RecordedTrial:
    """One trial's run.

    Attributes:
        record: Its history is empty unless it was asked for; its configuration is as MLflow's parameters have it.
        run_id: Of its MLflow run.
        metrics: The last value of each metric.
    """

    record: TrialRecord
    run_id: str
    metrics: dict[str, float]

    @property
    def epochs(self) -> int:
        """Epochs done, known without the history too."""
        return self.record.epochs or int(self.metrics.get(EPOCHS_KEY, 0))


@dataclass(frozen=True)
class SweepRecords:
    """One launch of a sweep.

    Attributes:
        name: Of the sweep, which is the MLflow experiment's.
        parent_run_id: The launch's run.
        status: Of that run: RUNNING, FINISHED, FAILED or KILLED.
        metric: What is maximised.
        second_metric: The second objective, if there are two.
        trials: In the order in which they started.
        read_at: When it was read.
    """

    name: str
    experiment_id: str
    parent_run_id: str
    status: str
    metric: str
    second_metric: str | None
    trials: list[RecordedTrial]
    read_at: datetime.datetime = field(default_factory=datetime.datetime.now)

    @property
    def records(self) -> list[TrialRecord]:
        """The trials' records alone."""
        return [trial.record for trial in self.trials]

    @property
    def metrics(self) -> list[str]:
        """The objectives, one or two."""
        return [self.metric, *([self.second_metric] if self.second_metric else [])]


@dataclass(frozen=True)
class SweepFacts:
    """What was run, for whoever wants to repeat or to judge it.

    Attributes:
        started: When the launch began.
        ended: When it ended; None while it runs.
        command: What was typed.
        protocol: `validation`: epochs and configurations were chosen on validation classes, and the test classes read
            for what the report names; `paper`: the best epoch was chosen on the test classes, as the authors do.
        sampler: `grid` means that every combination was trained: an ablation.
        seeds: Training seeds of each configuration.
        epochs: Of a whole trial; several if that is among what is varied.
        workers_per_trial: DDP ranks.
        images: Images and classes of each split, in words, and `content`, a hash.
        versions: Of the packages, by name, python too.
        commit: Git's, with `+ changes` if there were any; None outside of a checkout.
        devices: What the trials ran on.
        sweep_file: The YAML.
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


@dataclass(frozen=True)
class SweepEvidence:
    """All that a report is made of: one launch, read from MLflow alone.

    Attributes:
        sweep: Its trials have whole histories, all metrics of all epochs, and their distances.
        facts: What was run.
        details: What the evaluations on the test classes found, by trial name; of trials that were evaluated.
        deleted: Names of trials that were deleted in MLflow.
    """

    sweep: SweepRecords
    facts: SweepFacts
    details: dict[str, TestDetails] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
