"""How far a sweep is, and what the rest of it will take, from what its epochs took so far."""

from collections.abc import Sequence
from statistics import fmean

from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.sweep.cost import describe_hours, device_hours

EPOCH_TIME = "time/epoch_s"


class Pace:
    """Follows the trials of a sweep.

    Args:
        num_trials: Configurations of all arms together.
        lanes: What they run on.
        seeds_per_trial: Training seeds of a configuration that survives.
        every_seed: A configuration has all of its seeds whatever becomes of the first: each is a trial like any other.
        past: Trials of earlier sessions. They are done, or go on, and cost what they cost; but how long an epoch takes
            is measured anew.
    """

    def __init__(
        self,
        num_trials: int,
        lanes: LaneResources,
        seeds_per_trial: int = 1,
        past: Sequence[TrialRecord] = (),
        every_seed: bool = False,
    ) -> None:
        self._configurations, self._lanes, self._seeds = num_trials, lanes, seeds_per_trial
        self._every_seed = every_seed
        self._records = {record.name: record for record in past}
        self._past_seconds = sum(epoch.get(EPOCH_TIME, 0.0) for record in past for epoch in record.history)
        self._seconds, self._epochs = 0.0, 0

    def started(self, record: TrialRecord) -> None:
        """A trial begins, or goes on."""
        self._records[record.name] = record

    def epoch_finished(self, record: TrialRecord) -> None:
        """The last epoch of a trial is new."""
        self._seconds += record.history[-1].get(EPOCH_TIME, 0.0)
        self._epochs += 1

    @property
    def records(self) -> list[TrialRecord]:
        """All trials that have started."""
        return list(self._records.values())

    @property
    def num_trials(self) -> int:
        """Configurations; with `every_seed` the trials of all of their seeds."""
        return self._configurations * (self._seeds if self._every_seed else 1)

    @property
    def trials_done(self) -> int:
        """How many of them have ended: configurations by their first seed."""
        return sum(record.ended and (self._every_seed or record.seed_index == 0) for record in self.records)

    @property
    def further_seeds_done(self) -> int:
        """Seeds that have ended beside those trials."""
        return 0 if self._every_seed else sum(record.ended and record.seed_index > 0 for record in self.records)

    @property
    def epochs_done(self) -> int:
        """Epochs of all trials."""
        return sum(record.epochs for record in self.records)

    @property
    def share_done(self) -> float:
        """Of all epochs that are expected."""
        done = self.epochs_done
        return done / max(1.0, done + self.epochs_left)

    @property
    def epochs_left(self) -> float:
        """Epochs still to train: what runs or waits goes as far as those before that came as far went in the mean."""
        return sum(self._left_of_running()) + self._left_of_waiting() + self._left_of_seeds()

    def _left_of_running(self) -> list[float]:
        return [self._length(r.epochs, r) - r.epochs for r in self.records if not r.ended]

    def _left_of_waiting(self) -> float:
        first_seeds = [record for record in self.records if record.seed_index == 0]
        if not first_seeds:
            return 0.0
        return (self._configurations - len(first_seeds)) * self._length(0, first_seeds[-1])

    def _left_of_seeds(self) -> float:
        """Epochs of the further seeds that have not started: those of survivors, and of as many of the rest."""
        first_seeds = [record for record in self.records if record.seed_index == 0]
        if self._seeds == 1 or not first_seeds:
            return 0.0
        ended = [record for record in first_seeds if record.ended]
        survived = sum(record.outcome == "completed" for record in ended)
        survivors = survived + (self._configurations - len(ended)) * (survived / len(ended) if ended else 1.0)
        if self._every_seed:
            survivors = float(self._configurations)
        started = sum(record.seed_index > 0 for record in self.records)
        return max(0.0, survivors * (self._seeds - 1) - started) * float(first_seeds[-1].config["epochs"])

    def _length(self, done: int, record: TrialRecord) -> float:
        """Return how many epochs a trial like `record` is expected to have that has come through `done`."""
        lengths = [r.epochs for r in self.records if r.outcome in ("completed", "stopped_early") and r.epochs > done]
        return fmean(lengths) if lengths else float(record.config["epochs"])

    @property
    def seconds_left(self) -> float | None:
        """Of wall time; None before the first epoch of this session, and once there is nothing left to train."""
        if not self._epochs or not self.epochs_left:
            return None
        longest = max(self._left_of_running(), default=0.0)
        return max(self.epochs_left / self._lanes.num_lanes, longest) * self._seconds / self._epochs

    def describe_gpu_hours(self) -> str | None:
        """Return the GPU hours so far and those expected, in words; None without GPUs, and before the first epoch."""
        if not self._lanes.gpus_per_worker or not self._epochs:
            return None
        so_far = self._past_seconds + self._seconds
        expected = so_far + self.epochs_left * self._seconds / self._epochs
        used, in_all = (describe_hours(device_hours(self._lanes, seconds)) for seconds in (so_far, expected))
        return f"{used} of about {in_all} GPU hours" if self.epochs_left else f"{used} GPU hours"
