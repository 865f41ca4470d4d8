"""Where every event of a sweep is entered: into the journal first, then the study, then to those who listen."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mdr_tune.checkpoints.retention import superseded
from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.journal import Journal
from mdr_tune.records.trial_record import Change, Outcome, SweepListener, TrialRecord
from mdr_tune.util.disk_space import until_room


class Study(Protocol):
    """What the ledger tells a search of its trials, by their numbers."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """The objective after an epoch."""

    def complete(self, number: int, values: list[float]) -> None:
        """A configuration ran to its end."""

    def prune(self, number: int) -> None:
        """It was stopped early."""

    def fail(self, number: int, why: str) -> None:
        """It has no value."""


class Ledger:
    """Keeps the records of a sweep and tells what happens, in one order.

    A crash between any two of its steps loses nothing: what the journal has and the others lack is made up for when
    the sweep is resumed.

    Args:
        journal: Written first.
        metrics: What is maximised, one or two.
        seeds_per_trial: Training seeds of a configuration.
        every_seed: A configuration has all of its seeds whatever becomes of the first; else only if that survives.
        keeps_all_checkpoints: Superseded checkpoints stay on the disk.
        listeners: Told last.
        records: What is known from earlier sessions.
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
    ) -> None:
        self.journal, self.metrics, self.records = journal, list(metrics), records
        self._seeds_per_trial, self.gives_every_seed = seeds_per_trial, every_seed
        self._keeps_all = keeps_all_checkpoints
        self._listeners = listeners
        self._by_name = {record.name: record for record in records}
        self.study: Study | None = None
        """The study of the arm that is searched now, if it has one."""

    def trial(self, name: str) -> TrialRecord | None:
        """Return the record of a trial, if it has one."""
        return self._by_name.get(name)

    def tidy(self, arm: str) -> None:
        """Delete what an arm that is over keeps only for its trials to go on."""
        for record in self.of_arm(arm):
            if record.ended and not self._keeps_all:
                self._drop(record, superseded(record, self.metrics[0], keep_from=record.epochs + 1))

    def of_arm(self, arm: str) -> list[TrialRecord]:
        """Return the records of an arm."""
        return [record for record in self.records if record.arm == arm]

    def seeds_of(self, record: TrialRecord) -> list[TrialRecord]:
        """Return the records of all seeds of a configuration, the first seed's first."""
        names = [record.config_name, *(f"{record.config_name}.{k + 1}" for k in range(1, self._seeds_per_trial))]
        return [self._by_name[name] for name in names if name in self._by_name]

    def started(self, record: TrialRecord) -> None:
        """A new trial begins."""
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
        """A trial of an earlier session goes on."""
        record.outcome = "running"
        self._tell("trial_started", record)

    def epoch(
        self,
        record: TrialRecord,
        metrics: dict[str, float],
        device: str | None,
        distances: dict[str, Any] | None = None,
    ) -> None:
        """A trial finished an epoch.

        Args:
            device: What it was trained on.
            distances: How they lay after it, as `DistanceSnapshot.as_dict` says it.
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
        """A checkpoint is on the disk; those that nobody can need any more are deleted.

        Args:
            keep_from: The first epoch whose checkpoint another trial may take over.
        """
        self.journal.write("checkpoint", name=record.name, epoch=epoch, folder=str(folder))
        record.checkpoints[epoch] = str(folder)
        if self._keeps_all:
            return
        self._drop(record, superseded(record, self.metrics[0], keep_from))

    def _drop(self, record: TrialRecord, epochs: list[int]) -> None:
        if epochs:
            self.journal.write("dropped", name=record.name, epochs=epochs)
            for epoch in epochs:
                _delete_checkpoint(Path(record.checkpoints.pop(epoch)))

    def changed(self, record: TrialRecord, change: Change) -> None:
        """Population based training changed a trial; told once, though a resumed sweep decides it again."""
        if change in record.changes:
            return
        self.journal.write(
            "changed", name=record.name, epoch=change.epoch, source=change.source, parameters=change.parameters
        )
        record.changes.append(change)
        self._tell("trial_noted", record)

    def note(self, record: TrialRecord, text: str) -> None:
        """Something happened to a trial that its user should know."""
        self.journal.write("note", name=record.name, text=text)
        record.notes.append(text)
        self._tell("trial_noted", record)

    def ended(self, record: TrialRecord, outcome: Outcome, error: str | None) -> None:
        """A trial ended, or was interrupted (`killed`)."""
        self.journal.write("ended", name=record.name, outcome=outcome, error=error)
        record.outcome, record.error = outcome, error
        self.tell_study(record)
        self._tell("trial_ended", record)

    def tell_study(self, record: TrialRecord) -> None:
        """Enter into the study how a configuration ended, once all of its seeds did."""
        study, first = self.study, self._by_name[record.config_name]
        if study is None or not first.ended:
            return
        if first.outcome == "stopped_early":
            self._enter(lambda: study.prune(first.number))
        elif first.outcome != "completed":
            self._enter(lambda: study.fail(first.number, first.outcome))
        elif not self.missing_seeds(first) and all(seed.ended for seed in self.seeds_of(first)):
            values = self.objectives(first)
            if values is None:
                self._enter(lambda: study.fail(first.number, "no finite value"))
            else:
                self._enter(lambda: study.complete(first.number, values))

    def _enter(self, write: Callable[[], None]) -> None:
        """Write into the study; while its disk is full, wait."""
        until_room(write, "the study", self.journal.tell)

    @property
    def gives_further_seeds(self) -> bool:
        """Whether a configuration that survives gets further seeds."""
        return self._seeds_per_trial > 1

    def missing_seeds(self, first: TrialRecord) -> list[int]:
        """Return the seeds that a configuration has earned and not had yet."""
        if first.outcome != "completed" and not self.gives_every_seed:
            return []
        return [k for k in range(1, self._seeds_per_trial) if f"{first.config_name}.{k + 1}" not in self._by_name]

    def objectives(self, first: TrialRecord) -> list[float] | None:
        """Return what a configuration is worth: each metric in the mean over its seeds; None if it has no value."""
        found = [seed.objectives(self.metrics) for seed in self.seeds_of(first) if seed.outcome == "completed"]
        values = [value for value in found if value is not None]
        return [sum(column) / len(values) for column in zip(*values, strict=True)] if values else None

    def _tell(self, event: str, record: TrialRecord) -> None:
        for listener in self._listeners:
            getattr(listener, event)(record)


def _delete_checkpoint(folder: Path) -> None:
    """Delete the files of a checkpoint and its folder; what is gone already is no error."""
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        folder.rmdir()
