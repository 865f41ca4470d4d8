"""The rows of an ablation's table, before they are compared: trials put together by configuration."""

from dataclasses import dataclass
from typing import Any

from mdr_tune.records.objectives import best_epoch_key, by_configuration, mean_over_seeds
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.row_settings import drawn, key_of


@dataclass(frozen=True)
class Configuration:
    """The trials of one row.

    Attributes:
        name: `mdr-003`.
        trials: Its seeds, in the order in which they started.
        ran: Those that are in its means.
    """

    name: str
    trials: list[RecordedTrial]
    ran: list[RecordedTrial]

    @property
    def config(self) -> dict[str, Any]:
        """Nested, with the first seed."""
        return self.trials[0].record.config

    @property
    def parameters(self) -> dict[str, Any]:
        """What was drawn, by dotted key; of MDR each key that it was drawn with."""
        return drawn(self.config, self.trials[0].record.parameters)

    def best_parameters(self, metric: str) -> dict[str, Any]:
        """Return what a search had drawn for its first seed at the best epoch: some searches draw again on the way."""
        return self.trials[0].record.best_parameters(metric)

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric's value by training seed, of the trials that ran and have it."""
        return {trial.record.seed: trial.metrics[metric] for trial in self.ran if metric in trial.metrics}

    def failed(self) -> dict[int, str]:
        """Return how the seeds ended that are in no mean."""
        ran = [trial.record.name for trial in self.ran]
        return {
            trial.record.seed: trial.record.outcome.replace("_", " ")
            for trial in self.trials
            if trial.record.name not in ran
        }

    def best_epochs(self, metric: str) -> dict[int, int]:
        """Return at which epoch `metric`, the sweep's, was best, by seed."""
        key = best_epoch_key(metric)
        recorded = {t.record.seed: int(t.metrics[key]) for t in self.ran if key in t.metrics}
        histories = {t.record.seed: best[1] for t in self.ran if (best := t.record.best(metric)) is not None}
        return histories | recorded


def grid_rows(evidence: SweepEvidence) -> list[Configuration]:
    """Return every configuration, the arms one after another, each in the order of its grid.

    A row is a configuration with its seeds. Where the space has `seed`, those that are equal but for it are one row.
    """
    groups: dict[Any, list[RecordedTrial]] = {}
    arms = list(dict.fromkeys(trial.record.arm for trial in evidence.sweep.trials))
    in_order = sorted(
        evidence.sweep.trials, key=lambda t: (arms.index(t.record.arm), t.record.number, t.record.seed_index)
    )
    for trial in in_order:
        record = trial.record
        of_row = key_of(record.config) if "seed" in record.parameters else record.config_name
        groups.setdefault((record.arm, of_row), []).append(trial)
    return [_configuration(trials, ("completed",)) for trials in groups.values()]


def best_rows(evidence: SweepEvidence) -> list[Configuration]:
    """Return the best configuration of each arm on validation, in the mean over its seeds, as the launch chose it."""
    metric, records = evidence.sweep.metric, evidence.sweep.records
    trials = {trial.record.name: trial for trial in evidence.sweep.trials}
    rows = []
    for arm in dict.fromkeys(record.arm for record in records):
        groups = by_configuration(record for record in records if record.arm == arm)
        scored = {name: value for name, group in groups.items() if (value := _value(group, metric)) is not None}
        if any(len(group) > 1 for group in groups.values()):  # only those that have all of their seeds, if there are
            whole = [name for name in scored if groups[name][0].outcome == "completed"]
            scored = {name: scored[name] for name in whole} or scored
        if scored:
            best = max(scored, key=lambda name: scored[name])
            rows.append(_configuration([trials[r.name] for r in groups[best]], ("completed", "stopped_early")))
    return rows


def _value(group: list[TrialRecord], metric: str) -> float | None:
    mean, first = mean_over_seeds(group, metric), group[0].best(metric)
    return mean[0] if mean is not None else first[0] if first is not None else None


def _configuration(trials: list[RecordedTrial], ran: tuple[str, ...]) -> Configuration:
    return Configuration(trials[0].record.config_name, trials, [t for t in trials if t.record.outcome in ran])
