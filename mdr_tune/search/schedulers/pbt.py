"""Population based training (Jaderberg et al., 2017), synchronous, over trials that pause."""

import copy
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray.tune.experiment import Trial

from mdr_tune.config.arms import Arm
from mdr_tune.config.base import flatten, set_dotted
from mdr_tune.config.space import parameter_tree
from mdr_tune.lanes.ray_seams import take_over
from mdr_tune.search.schedulers.perturbation import domain_of, perturb
from mdr_tune.search.schedulers.rungs import Group, RungScheduler

OnChange = Callable[[str, int, str, dict[str, Any]], None]
"""Called with a trial, the epoch, the trial whose state it takes over, and the parameters that it goes on with."""


class PopulationBasedTraining(RungScheduler):
    """All trials of the arm are the population. Whenever all are paused, the worst go on from the states of the best.

    A trial that takes over another has its checkpoint and its whole configuration, of which `keys` are perturbed. What
    it draws depends on the seed, the epoch and its name only.

    Args:
        num_lanes: Trials that can run side by side.
        arm: Whose trials.
        ends: See `RungScheduler`; the trials of an extension are a population of their own.
        seed: Of donors and perturbations.
        max_epochs: Of a trial.
        interval_epochs: Epochs between two decisions.
        quantile: The share of the population that is replaced, rounded up, and by whose states.
        keys: What is perturbed.
        resample: Probability that a searched value is drawn anew.
        on_change: Told when a trial is replaced.
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
        """Let a paused trial go on from the checkpoint and with the perturbed configuration of another."""
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
