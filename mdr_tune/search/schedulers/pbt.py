"""Synchronous population based training (Jaderberg et al., 2017), in which the trials pause for each decision."""

import copy
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray.tune.experiment import Trial

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import parameter_tree
from mdr_tune.config.strict_model import flatten, set_dotted
from mdr_tune.lanes.ray_seams import take_over
from mdr_tune.search.schedulers.perturbation import domain_of, perturb
from mdr_tune.search.schedulers.rungs import Group, RungScheduler

OnChange = Callable[[str, int, str, dict[str, Any]], None]
"""Function that is called when a trial takes over a state: (trial, epoch, trial with the state, new parameters)."""


class PopulationBasedTraining(RungScheduler):
    """Replace the worst trials of a population by changed copies of the best ones, every `interval_epochs` epochs.

    The population is all trials of the arm. A replaced trial takes over the checkpoint and the whole configuration of a
    better trial, and the values of `keys` are then perturbed. The random draws for a replaced trial depend only on the
    seed, the epoch and the trial's name.

    Args:
        num_lanes: Number of trials that can run side by side.
        arm: Arm whose trials are the population.
        ends: Numbers of trials, see `RungScheduler`. The trials of an extension are a population of their own.
        seed: Seed of the random choice of the better trial and of the perturbation.
        max_epochs: Number of epochs of the longest trial.
        interval_epochs: Number of epochs between two decisions.
        quantile: Share of the population that is replaced, at most half. The number of trials is rounded up.
        keys: Dotted keys of the values that are perturbed.
        resample: Probability that the value of a searched key is drawn anew instead of perturbed.
        on_change: Function that is called when a trial is replaced.
    """

    def __init__(
        self,
        num_lanes: int,
        *,
        arm: Arm,
        ends: Iterable[int],
        seed: int,
        max_epochs: int,
        interval_epochs: int,
        quantile: float,
        keys: Sequence[str],
        resample: float,
        on_change: OnChange,
    ) -> None:
        super().__init__(num_lanes, ends)
        self._size, self._seed, self._quantile = arm.trials, seed, quantile
        self._rungs = list(range(interval_epochs, max_epochs, interval_epochs))
        self._keys, self._resample, self._tree = keys, resample, parameter_tree(arm.space)
        self._on_change = on_change

    def _new_group(self) -> Group:
        return Group(self._size, self._rungs)

    def _pass_rung(self, group: Group, epoch: int, tune_controller: Any) -> None:
        ranking = group.ranking
        count = min(math.ceil(len(ranking) * self._quantile), len(ranking) // 2)
        best, worst = ranking[:count], ranking[len(ranking) - count :]
        for name in sorted(worst):
            generator = random.Random(f"{self._seed}/{epoch}/{name}")
            source = generator.choice(best)
            parameters = self._take_over(group.trials[name], group.trials[source], generator)
            self._on_change(name, epoch, source, parameters)

    def _take_over(self, trial: Trial, source: Trial, generator: random.Random) -> dict[str, Any]:
        """Let a paused `trial` go on from the checkpoint of `source`, and return its new parameters by dotted key.

        Its new configuration is that of `source`, perturbed with draws from `generator`.
        """
        taken = {key: copy.deepcopy(source.config[key]) for key in ("trial", "parameters")}
        values = flatten(taken["trial"])
        for key in self._keys:
            if key in values:  # a baseline has no mdr.weight
                domain = domain_of(self._tree, key, source.config["parameters"])
                value = perturb(values[key], domain, self._resample, generator)
                set_dotted(taken["trial"], key, value)
                taken["parameters"][key] = value
        take_over(trial, source, {**trial.config, **taken})
        parameters: dict[str, Any] = copy.deepcopy(taken["parameters"])
        return parameters
