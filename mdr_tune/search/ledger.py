"""Record every event of a sweep in the journal first, then in the study; then call the listeners."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mdr_tune.checkpoints.retention import superseded
from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.journal import Journal
from mdr_tune.records.trial_record import Change, Outcome, SweepListener, TrialRecord, best_first_seeds
from mdr_tune.util.disk_space import until_room


class Study(Protocol):
    """The methods of an arm's study that the ledger calls. `number` is the number of a configuration in the study."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Record the `value` that the metric of the configuration `number` has after `epoch`."""

    def complete(self, number: int, values: list[float]) -> None:
        """Record that the configuration `number` ran to its end, and its `values`, one for each metric."""

    def prune(self, number: int) -> None:
        """Record that the configuration `number` was stopped early."""

    def fail(self, number: int, why: str) -> None:
        """Record that the configuration `number` has no value; `why` is the reason in words."""


class Ledger:
    """Keep the records of a sweep's trials, and pass each event on in a fixed order: journal, study, listeners.

    A crash between two of these steps loses nothing. When the sweep is resumed, events that only the journal has are
    added to the study and to MLflow.

    Args:
        journal: Journal of the launch.
        metrics: Names of the metrics that are maximised, one or two.
        seeds_per_trial: Number of training seeds that a configuration may get.
        keeps_all_checkpoints: Whether checkpoints stay on the disk when newer ones have superseded them.
        listeners: Objects whose methods are called for each event, such as the MLflow tracker.
        records: Records of the trials of earlier sessions.
        every_seed: Whether a configuration gets all of its seeds even if the first one does not run to its end.
        num_finalists: Number of configurations of each arm that get further seeds, after the first seeds of the arm.
            None if every configuration may get them, at once.
    """

    def __init__(
        self,
        journal: Journal,
        metrics: Sequence[str],
        seeds_per_trial: int,
        keeps_all_checkpoints: bool,
        listeners: Sequence[SweepListener],
        records: list[TrialRecord],
        every_seed: bool = False,
        num_finalists: int | None = None,
    ) -> None:
        self.journal, self.metrics, self.records = journal, list(metrics), records
        self._seeds_per_trial, self.gives_every_seed = seeds_per_trial, every_seed
        self.num_finalists, self._keeps_all = num_finalists, keeps_all_checkpoints
        self._listeners = listeners
        self._by_name = {record.name: record for record in records}
        self._changed = {record.name: record for record in records if record.changes}
        self.study: Study | None = None
        """Study of the arm that is being searched; None if that arm has no study."""

    def trial(self, name: str) -> TrialRecord | None:
        """Return the record of the trial `name`; None if no trial of that name has started."""
        return self._by_name.get(name)

    def tidy(self, arm: str) -> None:
        """Delete checkpoints of ended trials of `arm` after its search, when no trial can take over their states.

        Each trial keeps its two newest checkpoints and that of its best epoch.
        """
        for record in self.of_arm(arm):
            if record.ended and not self._keeps_all:
                self._drop(record, superseded(record, self.metrics[0], keep_from=record.epochs + 1))

    def of_arm(self, arm: str) -> list[TrialRecord]:
        """Return the records of `arm`, in the order in which the trials started."""
        return [record for record in self.records if record.arm == arm]

    def seeds_of(self, record: TrialRecord) -> list[TrialRecord]:
        """Return the records of all started trials of the configuration of `record`, in the order of their seeds."""
        names = [record.config_name, *(f"{record.config_name}.{k + 1}" for k in range(1, self._seeds_per_trial))]
        return [self._by_name[name] for name in names if name in self._by_name]

    def started(self, record: TrialRecord) -> None:
        """Record that the new trial of `record` starts."""
        self.journal.write(
            "started",
            name=record.name,
            arm=record.arm,
            number=record.number,
            seed_index=record.seed_index,
            parameters=record.parameters,
            config=record.config,
        )
        self.records.append(record)
        self._by_name[record.name] = record
        self._tell("trial_started", record)

    def goes_on(self, record: TrialRecord) -> None:
        """Mark the trial of `record` as running again after an interruption. Tell the listeners, not the journal."""
        record.outcome = "running"
        self._tell("trial_started", record)

    def epoch(
        self,
        record: TrialRecord,
        metrics: dict[str, float],
        device: str | None,
        distances: dict[str, Any] | None = None,
    ) -> None:
        """Record that the trial of `record` finished an epoch.

        Args:
            metrics: Metrics of the epoch by name, and the epoch's number as `epoch`.
            device: Device that trained the epoch: `cpu` or a GPU's name.
            distances: Snapshot of the distances after the epoch, in the form of `DistanceSnapshot.as_dict`.
        """
        more = {key: value for key, value in (("device", device), ("distances", distances)) if value}
        self.journal.write("epoch", name=record.name, metrics=metrics, **more)
        record.history.append(metrics)
        if distances:
            record.distances.append(DistanceSnapshot.from_dict(distances))
        record.device = device or record.device
        value = metrics.get(self.metrics[0], math.nan)
        if self.study is not None and record.seed_index == 0 and math.isfinite(value):
            study, epoch = self.study, record.epochs
            self._enter(lambda: study.report(record.number, epoch, value))
        self._tell("epoch_finished", record)

    def checkpoint(self, record: TrialRecord, epoch: int, folder: Path, keep_from: int) -> None:
        """Record that the checkpoint of `epoch` of the trial of `record` is in `folder`, and delete superseded ones.

        Checkpoints in `record` from the epoch `keep_from` on stay, since another trial may still take them over.
        """
        self.journal.write("checkpoint", name=record.name, epoch=epoch, folder=str(folder))
        record.checkpoints[epoch] = str(folder)
        if self._keeps_all:
            return
        self._drop(record, superseded(record, self.metrics[0], keep_from))

    def _drop(self, record: TrialRecord, superseded_epochs: list[int]) -> None:
        needed = self._needed_by_others(record) if superseded_epochs else set()
        epochs = [epoch for epoch in superseded_epochs if epoch not in needed]
        if epochs:
            self.journal.write("dropped", name=record.name, epochs=epochs)
            for epoch in epochs:
                _delete_checkpoint(Path(record.checkpoints.pop(epoch)))

    def _needed_by_others(self, record: TrialRecord) -> set[int]:
        """Return the epochs of those checkpoints of `record` that other trials, which took over its state, still need.

        A trial that took over a state needs the checkpoint of this state until it has a later checkpoint of its own.
        """
        origins = {
            self._origin_of(change.source, change.epoch)
            for other in self._changed.values()
            for change in other.changes
            if max(other.checkpoints, default=0) <= change.epoch
        }
        return {epoch for name, epoch in origins if name == record.name}

    def _origin_of(self, name: str, epoch: int) -> tuple[str, int]:
        """Return (name, epoch) of the checkpoint from which the state of the trial `name` at `epoch` can be restored.

        Normally it is the trial's own checkpoint of `epoch`. If this one was not written, because of an interruption,
        it is the trial's latest earlier checkpoint, or, if the trial took over a state after that, the checkpoint of
        this state.
        """
        record = self._by_name.get(name)
        if record is None:  # the journal lost the trial
            return name, epoch
        own = max((saved for saved in record.checkpoints if saved <= epoch), default=0)
        taken_over = [change for change in record.changes if own <= change.epoch < epoch]
        if not taken_over:
            return name, own
        return self._origin_of(taken_over[-1].source, taken_over[-1].epoch)

    def changed(self, record: TrialRecord, change: Change) -> None:
        """Record that population based training made `change` to the trial of `record`.

        A resumed sweep makes the same change again; the repetition is not recorded.
        """
        if change in record.changes:
            return
        self.journal.write(
            "changed", name=record.name, epoch=change.epoch, source=change.source, parameters=change.parameters
        )
        record.changes.append(change)
        self._changed[record.name] = record
        self._tell("trial_noted", record)

    def note(self, record: TrialRecord, text: str) -> None:
        """Record the note `text` for the user on the trial of `record`."""
        self.journal.write("note", name=record.name, text=text)
        record.notes.append(text)
        self._tell("trial_noted", record)

    def ended(self, record: TrialRecord, outcome: Outcome, error: str | None) -> None:
        """Record the `outcome` and the `error` of the trial of `record` at its end or its interruption (`killed`)."""
        self.journal.write("ended", name=record.name, outcome=outcome, error=error)
        record.outcome, record.error = outcome, error
        self.tell_study(record)
        self._tell("trial_ended", record)

    def tell_study(self, record: TrialRecord) -> None:
        """Record the end of a configuration in the study, if it has ended with `record`, one of its trials.

        It ends with its first seed if that failed or was stopped early, and otherwise when all of its seeds have ended.
        If finalists get the further seeds, it ends with its first seed in any case, and has that seed's value.
        """
        study, first = self.study, self._by_name[record.config_name]
        if study is None or not first.ended:
            return
        if first.outcome == "stopped_early":
            self._enter(lambda: study.prune(first.number))
        elif first.outcome != "completed":
            self._enter(lambda: study.fail(first.number, first.outcome))
        elif self.num_finalists is not None or self._all_seeds_ended(first):
            values = self.objectives(first) if self.num_finalists is None else first.objectives(self.metrics)
            if values is None:
                self._enter(lambda: study.fail(first.number, "no finite value"))
            else:
                self._enter(lambda: study.complete(first.number, values))

    def _enter(self, write: Callable[[], None]) -> None:
        """Call `write`, which writes into the study, and wait as long as the disk of the study is full."""
        until_room(write, "the study", self.journal.tell)

    @property
    def gives_further_seeds(self) -> bool:
        """Whether configurations have more than one training seed."""
        return self._seeds_per_trial > 1

    def _all_seeds_ended(self, first: TrialRecord) -> bool:
        return not self.missing_seeds(first) and all(seed.ended for seed in self.seeds_of(first))

    def getting_seeds(self, arm: str) -> list[TrialRecord]:
        """Return the first seeds of the configurations of `arm` that may get further seeds, the next to get one first.

        With finalists, these are the best ones so far, the best first. They follow from the records alone, so that a
        resumed search has the same ones.
        """
        if self.num_finalists is not None:
            return best_first_seeds(self.of_arm(arm), self.metrics[0], self.num_finalists)
        return [record for record in self.of_arm(arm) if record.seed_index == 0]

    def missing_seeds(self, first: TrialRecord) -> list[int]:
        """Return the indices of the seeds that have not started yet, but that the configuration should get.

        `first` is the record of the configuration's first seed. With finalists, it must be one of `getting_seeds`.
        """
        if first.outcome != "completed" and not self.gives_every_seed:
            return []
        return [k for k in range(1, self._seeds_per_trial) if f"{first.config_name}.{k + 1}" not in self._by_name]

    def objectives(self, first: TrialRecord) -> list[float] | None:
        """Return the value of a configuration for each metric: the mean over the seeds that ran to their end.

        `first` is the record of the configuration's first seed. Return None if none of these seeds has finite values.
        """
        found = [seed.objectives(self.metrics) for seed in self.seeds_of(first) if seed.outcome == "completed"]
        values = [value for value in found if value is not None]
        return [sum(column) / len(values) for column in zip(*values, strict=True)] if values else None

    def _tell(self, event: str, record: TrialRecord) -> None:
        for listener in self._listeners:
            getattr(listener, event)(record)


def _delete_checkpoint(folder: Path) -> None:
    """Delete a checkpoint's files and its folder. It is no error if they have been deleted already."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        folder.rmdir()
