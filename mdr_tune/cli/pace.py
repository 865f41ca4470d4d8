"""Estimate how much of a sweep is done and how long the rest will take, from the time of the epochs so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.trial_record import TrialRecord, best_first_seeds
from mdr_tune.sweep.cost import describe_hours, device_hours

EPOCH_TIME = "time/epoch_s"


@dataclass(frozen=True)
class Finals:
    """Which configurations of a sweep get further seeds: the `number` best of each arm, by their first seed's `metric`.

    `trials` is the number of configurations of each arm, by its name.
    """

    metric: str
    number: int
    trials: Mapping[str, int]


class Pace:
    """Follows the trials of a sweep, and estimates how many epochs, hours and GPU hours are left.

    Args:
        num_trials: Number of configurations of all arms.
        lanes: Lanes that the trials run on.
        seeds_per_trial: Number of training seeds of a configuration whose first seed ran to its end.
        past: Trials of earlier sessions. Their time counts as GPU hours, but the expected time of an epoch is measured
            in this session alone.
        every_seed: Whether each configuration is trained with all of its seeds, even if its first seed does not run to
            its end. The properties `num_trials` and `trials_done` then count all seeds, else first seeds only.
        finals: The finalists of each arm, which alone get further seeds; None if all survivors get them.
    """

    def __init__(
        self,
        num_trials: int,
        lanes: LaneResources,
        seeds_per_trial: int = 1,
        past: Sequence[TrialRecord] = (),
        every_seed: bool = False,
        finals: Finals | None = None,
    ) -> None:
        self._configurations, self._lanes, self._seeds = num_trials, lanes, seeds_per_trial
        self._every_seed, self._finals = every_seed, finals
        self._records = {record.name: record for record in past}
        self._past_seconds = sum(epoch.get(EPOCH_TIME, 0.0) for record in past for epoch in record.history)
        self._seconds, self._epochs = 0.0, 0
        self._from_steps: float | None = None

    def started(self, record: TrialRecord) -> None:
        """Count the trial of `record`, which starts or is resumed."""
        self._records[record.name] = record

    def epoch_finished(self, record: TrialRecord) -> None:
        """Count the epoch that the trial of `record` has just finished, and add its time."""
        self._seconds += record.history[-1].get(EPOCH_TIME, 0.0)
        self._epochs += 1

    def steps_timed(self, epoch_s: float) -> None:
        """Take `epoch_s`, the time of an epoch's steps, as the time of an epoch until an epoch is finished."""
        self._from_steps = epoch_s

    @property
    def epoch_s(self) -> float | None:
        """Mean time of an epoch in this session, in seconds. Before an epoch is finished, the time of its steps alone.

        None if neither is known.
        """
        return self._seconds / self._epochs if self._epochs else self._from_steps

    @property
    def records(self) -> list[TrialRecord]:
        """All trials that have started."""
        return list(self._records.values())

    @property
    def num_trials(self) -> int:
        """Number of trials of the sweep. A configuration's second and further seeds count only with `every_seed`."""
        return self._configurations * (self._seeds if self._every_seed else 1)

    @property
    def trials_done(self) -> int:
        """Number of ended trials. A configuration's second and further seeds count only with `every_seed`."""
        return sum(record.ended and (self._every_seed or record.seed_index == 0) for record in self.records)

    @property
    def further_seeds_done(self) -> int:
        """Number of ended trials with a second or further seed of a configuration; 0 with `every_seed`."""
        return 0 if self._every_seed else sum(record.ended and record.seed_index > 0 for record in self.records)

    @property
    def further_seeds(self) -> int:
        """Number of further seeds of all finalists, if enough trials run to their end; 0 without finalists."""
        if self._finals is None:
            return 0
        return sum(min(self._finals.number, trials) for trials in self._finals.trials.values()) * (self._seeds - 1)

    @property
    def epochs_done(self) -> int:
        """Number of epochs that all trials have done."""
        return sum(record.epochs for record in self.records)

    @property
    def share_done(self) -> float:
        """Share of all expected epochs that are done, 0 to 1."""
        done = self.epochs_done
        return done / max(1.0, done + self.epochs_left)

    @property
    def epochs_left(self) -> float:
        """Expected number of epochs still to be trained, by running trials, waiting trials and further seeds."""
        return sum(self._left_of_running()) + self._left_of_waiting() + self._left_of_seeds()

    def _left_of_running(self) -> list[float]:
        return [self._length(r.epochs, r) - r.epochs for r in self.records if not r.ended]

    def _left_of_waiting(self) -> float:
        first_seeds = [record for record in self.records if record.seed_index == 0]
        if not first_seeds:
            return 0.0
        return (self._configurations - len(first_seeds)) * self._length(0, first_seeds[-1])

    def _left_of_seeds(self) -> float:
        """Return the expected number of epochs of the further seeds that have not started.

        Further seeds are trained for survivors: configurations whose first seed ran to its end, the best of them alone
        with `finals`, or all configurations with `every_seed`. The share of survivors is taken from the first seeds
        that have ended. Until one has ended, all configurations are expected to survive.
        """
        first_seeds = [record for record in self.records if record.seed_index == 0]
        if self._seeds == 1 or not first_seeds:
            return 0.0
        ended = [record for record in first_seeds if record.ended]
        survived = sum(record.outcome == "completed" for record in ended)
        share = survived / len(ended) if ended else 1.0
        survivors = survived + (self._configurations - len(ended)) * share
        if self._every_seed:
            survivors = float(self._configurations)
        started = sum(record.seed_index > 0 for record in self.records)
        left = max(0.0, survivors * (self._seeds - 1) - started) if self._finals is None else self._finals_left(share)
        return left * float(first_seeds[-1].config["epochs"])

    def _finals_left(self, share: float) -> float:
        """Return the expected number of further seeds that finalists will still begin.

        `share` is the expected share of survivors among the first seeds that have not ended.
        """
        assert self._finals is not None
        left = 0.0
        for arm, trials in self._finals.trials.items():
            records = [record for record in self.records if record.arm == arm]
            ended = [record for record in records if record.seed_index == 0 and record.ended]
            survivors = sum(record.outcome == "completed" for record in ended) + share * (trials - len(ended))
            best = {record.name for record in best_first_seeds(records, self._finals.metric, self._finals.number)}
            started = sum(record.seed_index > 0 and record.config_name in best for record in records)
            left += max(0.0, min(float(self._finals.number), survivors) * (self._seeds - 1) - started)
        return left

    def _length(self, done: int, record: TrialRecord) -> float:
        """Return the expected final number of epochs of the trial of `record`, which has done `done` epochs.

        This is the mean over the trials that ended with more than `done` epochs. Without such trials, it is the number
        in the trial's configuration.
        """
        lengths = [r.epochs for r in self.records if r.outcome in ("completed", "stopped_early") and r.epochs > done]
        return fmean(lengths) if lengths else float(record.config["epochs"])

    @property
    def seconds_left(self) -> float | None:
        """Expected wall time left, in seconds; None while `epoch_s` is not known, or with no epoch left."""
        if self.epoch_s is None or not self.epochs_left:
            return None
        longest = max(self._left_of_running(), default=0.0)
        return max(self.epochs_left / self._lanes.num_lanes, longest) * self.epoch_s

    def describe_gpu_hours(self) -> str | None:
        """Return words for the GPU hours so far and in the whole sweep: `1.2 of about 8.0 GPU hours`.

        None if the lanes have no GPU, or if no epoch was finished in this session yet.
        """
        if not self._lanes.gpus_per_worker or not self._epochs:
            return None
        so_far = self._past_seconds + self._seconds
        expected = so_far + self.epochs_left * self._seconds / self._epochs
        used, in_all = (describe_hours(device_hours(self._lanes, seconds)) for seconds in (so_far, expected))
        return f"{used} of about {in_all} GPU hours" if self.epochs_left else f"{used} GPU hours"
