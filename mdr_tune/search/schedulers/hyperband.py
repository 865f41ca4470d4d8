"""HyperBand (Li et al., JMLR 2018), Algorithm 1."""

from collections.abc import Iterable
from typing import Any

from mdr_tune.lanes.ray_seams import stop_trial
from mdr_tune.search.schedulers.rungs import Group, RungScheduler


class HyperBand(RungScheduler):
    """Brackets of successive halving, the one with most trials and shortest first rung first; then again from there.

    With `R` epochs at most and reduction factor `eta`, bracket `s` (from floor(log_eta R) down to 0) takes
    ceil((s_max + 1) / (s + 1) * eta^s) trials, which wait after R / eta^s, R / eta^(s-1), ..., R / eta epochs (rounded
    down); each time one of `eta` goes on, of the trials that the bracket began with, and at least one. The last bracket
    may have fewer trials. One that ended before a rung counts as one of those that do not go on.

    Tune's own begins with bracket 0, halves brackets that are not full yet, which with few lanes means brackets of one
    trial, lets the paused wait for ever if one fails after the first halving, and ends below R where it is no power.
    """

    def __init__(self, num_lanes: int, ends: Iterable[int], max_epochs: int, reduction_factor: int) -> None:
        super().__init__(num_lanes, ends)
        self._max_epochs, self._eta = max_epochs, reduction_factor
        self._s_max = 0
        while reduction_factor ** (self._s_max + 1) <= max_epochs:
            self._s_max += 1

    def _new_group(self) -> Group:
        s = self._s_max - len(self._groups) % (self._s_max + 1)
        size = -(-(self._s_max + 1) * self._eta**s // (s + 1))
        return Group(size, [self._max_epochs // self._eta**power for power in range(s, 0, -1)])

    def _pass_rung(self, group: Group, epoch: int, tune_controller: Any) -> None:
        keep = max(1, group.added // self._eta ** (group.passed + 1))
        for name in sorted(group.ranking[keep:]):
            stop_trial(tune_controller, group.trials[name])
