"""The scheduler HyperBand (Li et al., JMLR 2018), Algorithm 1."""

from collections.abc import Iterable
from typing import Any

from mdr_tune.lanes.ray_seams import stop_trial
from mdr_tune.search.schedulers.rungs import Group, RungScheduler


class HyperBand(RungScheduler):
    """Run brackets of successive halving. The first bracket has the most trials and the earliest first rung.

    With at most R epochs (`max_epochs`) and the factor eta (`reduction_factor`), the brackets have the numbers `s` from
    `s_max` = floor(log_eta R) down to 0, then from `s_max` again. Bracket `s` takes ceil((s_max + 1) / (s + 1) * eta^s)
    trials; the last bracket of a search may get fewer. The rungs of bracket `s` are R / eta^s, R / eta^(s-1), ..., R /
    eta epochs, rounded down. At the k-th rung, 1 / eta^k of the trials that the bracket began with go on, rounded down,
    but at least one. A trial that ended before a rung counts among those that do not go on. See `RungScheduler` for
    `num_lanes` and `ends`.

    Tune's own HyperBand is not used for four reasons. It begins with bracket 0. It halves brackets that are not full
    yet, so that with few lanes a bracket has one trial. It lets paused trials wait for ever if one fails after the
    first halving. It ends trials before R epochs if R is not a power of eta.
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
