"""Weights and images on every node that there is, prepared before a trial waits for them; the same on all of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.sweep.preflight.judge import BRING_DATA
from mdr_tune.sweep.preflight.preparation import contents, different_data, prepare_here
from mdr_tune.sweep.preflight.problems import Problem
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count

TELL_EVERY_S = 15.0
STILL_FOR_S = 900.0
"""A node that gets no further for so long has failed; weights are downloaded, and folders listed, without a word."""
ASK_TIMEOUT_S = 10.0


def check_data(sweep: SweepConfig, names: dict[str, str], tell: Callable[[str], None]) -> list[Problem]:
    """Prepare weights and images on all nodes side by side, and compare the images with the driver's.

    Args:
        sweep: The sweep, whose images are prepared here.
        names: What the nodes are called, by Ray's id.
        tell: Is told how far they are.
    """
    here = contents(sweep)
    preparing = _start(sweep, names)
    problems: list[Problem] = []
    try:
        while waiting := [node for node in preparing if not node.is_done]:
            ready, _ = ray.wait([node.answer for node in waiting], num_returns=1, timeout=TELL_EVERY_S)
            for node in waiting:
                if node.answer in ready:
                    problems += node.judged(here)
                elif not ready:
                    problems += node.looked_at()
            if not ready:
                tell(f"preflight: {_state(preparing)}")
    finally:
        for node in preparing:
            ray.kill(node.actor)
    return problems


@dataclass
class _PreparingNode:
    """A node that is being prepared, as the driver sees it."""

    name: str
    actor: Any
    answer: Any
    is_done: bool = False
    far: tuple[str, int, int] = ("", 0, 0)
    since: float = field(default_factory=time.monotonic)

    def judged(self, here: dict[str, str]) -> list[Problem]:
        """Take the answer; returns what is wrong."""
        self.is_done = True
        try:
            problem, there = ray.get(self.answer)
        except RayError as error:  # the node is gone, or its process; or what nobody expected was raised
            return [self._problem(" ".join(str(getattr(error, "cause", None) or error).split())[:300])]
        if problem is not None:
            return [self._problem(problem)]
        differ = different_data(here, there)
        return [self._problem(differ)] if differ else []

    def looked_at(self) -> list[Problem]:
        """Ask how far it is; a problem if it has not moved for long."""
        try:
            far = ray.get(self.actor.far.remote(), timeout=ASK_TIMEOUT_S)
        except GetTimeoutError:
            far = self.far
        except RayError:  # the answer says the same
            return []
        if far != self.far:
            self.far, self.since = far, time.monotonic()
        if time.monotonic() - self.since < STILL_FOR_S:
            return []
        self.is_done = True
        return [self._problem(f"nothing has moved for {STILL_FOR_S / 60:.0f} minutes, last: {_shown(self.far)}")]

    def _problem(self, what: str) -> Problem:
        return Problem("data", self.name, what, BRING_DATA)


class _Preparation:
    """An actor on a node, which prepares it and says how far it is."""

    def __init__(self) -> None:
        self._far = ("", 0, 0)

    def far(self) -> tuple[str, int, int]:
        """Return what is done now, how many images of it, and of how many."""
        return self._far

    def prepare(self, sweep: str) -> tuple[str | None, dict[str, str]]:
        """Prepare this node; returns what is wrong, and the hashes of its data sets."""
        from mdr_tune.config.sweep import SweepConfig

        config = SweepConfig.model_validate_json(sweep)
        try:
            prepare_here(config, lambda what: self._note(what, 0, 0), self._note)
            return None, contents(config)
        except UserError as error:
            return str(error), {}

    def _note(self, what: str, done: int, total: int) -> None:
        self._far = what, done, total


def _start(sweep: SweepConfig, names: dict[str, str]) -> list[_PreparingNode]:
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    kind = ray.remote(num_cpus=0, max_concurrency=2)(_Preparation)
    preparing = []
    for node_id, name in names.items():
        actor = kind.options(scheduling_strategy=affinity(node_id, soft=False)).remote()
        preparing.append(_PreparingNode(name, actor, actor.prepare.remote(sweep.model_dump_json())))
    return preparing


def _state(preparing: list[_PreparingNode]) -> str:
    """Return how many nodes are ready, and how far the one is that is furthest behind."""
    waiting = [node for node in preparing if not node.is_done]
    behind = min(waiting, key=lambda node: node.far[1] / max(node.far[2], 1), default=None)
    ready = f"the images are prepared on {len(preparing) - len(waiting)} of {count(len(preparing), 'node')}"
    return ready if behind is None or not behind.far[0] else f"{ready}; {behind.name}: {_shown(behind.far)}"


def _shown(far: tuple[str, int, int]) -> str:
    what, done, total = far
    return f"{what}, {done} of {total}" if total else what or "no word of it"
