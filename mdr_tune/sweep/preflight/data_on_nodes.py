"""Prepare weights and images on every node of the cluster before trials start, and compare the images of the nodes."""

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
from mdr_tune.util.user_code import UserCode, use_code
from mdr_tune.util.words import count

TELL_EVERY_S = 15.0
STILL_FOR_S = 900.0
"""Seconds without progress after which a node's preparation counts as failed. It is long because downloads of weights
and listings of folders report no progress."""
ASK_TIMEOUT_S = 10.0


def check_data(
    sweep: SweepConfig, names: dict[str, str], tell: Callable[[str], None], code: UserCode | None = None
) -> list[Problem]:
    """Prepare weights and images of `sweep` on all nodes side by side; return the problems of the nodes.

    It is a problem, too, if a node's images differ from those of the driver's node, which are prepared already. `names`
    maps the id of each node in Ray to its name; see `names_of`. `tell` is called with each line on the progress. `code`
    is a copy of the user's own modules, which `sweep` names.
    """
    here = contents(sweep)
    preparing = _start(sweep, names, code)
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
    """The state of a node's preparation, which the driver updates.

    Attributes:
        actor: Handle of the `_Preparation` actor on the node.
        answer: Ray's reference to the result of the actor's method `prepare`.
        is_done: Whether the result has arrived, or the driver has given the node up.
        far: Progress that the node reported last: the step in words, the number of images done, and the number of all
            images.
        since: Monotonic time, in seconds, at which the progress changed last.
    """

    name: str
    actor: Any
    answer: Any
    is_done: bool = False
    far: tuple[str, int, int] = ("", 0, 0)
    since: float = field(default_factory=time.monotonic)

    def judged(self, here: dict[str, str]) -> list[Problem]:
        """Fetch the result of the node's preparation, and return the node's problems.

        It is a problem, too, if the hashes of the node's data differ from `here`, those of the driver's node.
        """
        self.is_done = True
        try:
            problem, there = ray.get(self.answer)
        except RayError as error:  # the node or its process is gone, or an unexpected error was raised there
            return [self._problem(" ".join(str(getattr(error, "cause", None) or error).split())[:300])]
        if problem is not None:
            return [self._problem(problem)]
        differ = different_data(here, there)
        return [self._problem(differ)] if differ else []

    def looked_at(self) -> list[Problem]:
        """Ask the node for its progress; return a problem if there was no progress for STILL_FOR_S seconds."""
        try:
            far = ray.get(self.actor.far.remote(), timeout=ASK_TIMEOUT_S)
        except GetTimeoutError:
            far = self.far
        except RayError:  # `judged` gets the same error from the answer
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
    """Actor that prepares the node on which it runs, and reports the progress."""

    def __init__(self) -> None:
        self._far = ("", 0, 0)

    def far(self) -> tuple[str, int, int]:
        """Return the step that is running, the number of images done in it, and the number of images in all."""
        return self._far

    def prepare(self, sweep: str, code: UserCode | None) -> tuple[str | None, dict[str, str]]:
        """Prepare this node for `sweep` (as JSON); return an error's text or None, and the hashes of the data sets.

        `code` is a copy of the user's own modules, if `sweep` names them.
        """
        from mdr_tune.config.sweep import SweepConfig

        use_code(code)
        config = SweepConfig.model_validate_json(sweep)
        try:
            prepare_here(config, lambda what: self._note(what, 0, 0), self._note)
            return None, contents(config)
        except UserError as error:
            return str(error), {}

    def _note(self, what: str, done: int, total: int) -> None:
        self._far = what, done, total


def _start(sweep: SweepConfig, names: dict[str, str], code: UserCode | None) -> list[_PreparingNode]:
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    kind = ray.remote(num_cpus=0, max_concurrency=2)(_Preparation)
    preparing = []
    for node_id, name in names.items():
        actor = kind.options(scheduling_strategy=affinity(node_id, soft=False)).remote()
        preparing.append(_PreparingNode(name, actor, actor.prepare.remote(sweep.model_dump_json(), code)))
    return preparing


def _state(preparing: list[_PreparingNode]) -> str:
    """Return a text on the number of nodes that are ready, and on the progress of the slowest node that is not."""
    waiting = [node for node in preparing if not node.is_done]
    behind = min(waiting, key=lambda node: node.far[1] / max(node.far[2], 1), default=None)
    ready = f"the images are prepared on {len(preparing) - len(waiting)} of {count(len(preparing), 'node')}"
    return ready if behind is None or not behind.far[0] else f"{ready}; {behind.name}: {_shown(behind.far)}"


def _shown(far: tuple[str, int, int]) -> str:
    what, done, total = far
    return f"{what}, {done} of {total}" if total else what or "no word of it"
