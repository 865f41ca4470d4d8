"""Run a plan: Ray, lanes, one search an arm, the test evaluation of the best, the champion. The order of a launch."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from mdr_tune.config.arms import Arm
from mdr_tune.progress import Progress
from mdr_tune.records import SweepListener, SweepResult, TrialRecord, best_record
from mdr_tune.sweep import prepare
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.session import prepare_environment, ray_session


class RunListener(SweepListener, Protocol):
    """A listener that also hears of the sweep as a whole."""

    def stage(self, text: str) -> None:
        """Something that takes a while begins."""

    def arm_started(self, arm: Arm) -> None:
        """The search of one arm begins."""

    def test_scored(self, record: TrialRecord, metrics: dict[str, float]) -> None:
        """A trial was evaluated on the test classes."""


class LaunchListener(RunListener, Protocol):
    """A listener that also hears how far a long preparation is."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` items are done."""


@contextlib.contextmanager
def running_lanes(plan: Plan, progress: Progress) -> Iterator[Any]:
    """Start Ray and the lanes; yields the lanes' hub at once, while their workers still import. Ends all of it.

    Args:
        plan: The launch.
        progress: Is told how far the caches of images are.

    Raises:
        UserError: The data set cannot be had, or does not fit; no worker has been started then.
    """
    prepare_environment()
    import ray  # noqa: F401  (before the thread, which would slow it down)

    # Ray waits for its processes most of the time. No part of Ray may be imported beside it: its imports are circular.
    with (
        _beside(lambda report: prepare.prepare_data(plan.sweep, report), progress) as data_is_ready,
        ray_session(plan.address, plan.machine.cpus),
    ):
        with prepare.naming(plan.file):
            data_is_ready.result()
        plan.folder.mkdir(parents=True, exist_ok=True)  # not before: a launch that is refused leaves nothing
        from mdr_tune.lanes.lane import Lanes

        lanes = Lanes(plan.lanes, f"{plan.sweep.name}-{plan.launch}", plan.folder / "lanes")
        try:
            yield lanes.hub
        finally:
            lanes.stop()


@contextlib.contextmanager
def _beside(work: Callable[[Progress], None], progress: Progress) -> Iterator[Future[None]]:
    """Run `work` in a thread; yields its future. If the block is left by an error, Ctrl-C too, the work ends soon.

    Args:
        work: Takes a progress, and tells it how far it is.
        progress: What it tells.
    """
    given_up = threading.Event()

    def report(what: str, done: int, total: int) -> None:
        if given_up.is_set():
            raise RuntimeError("nobody waits for this any more")
        progress(what, done, total)

    with ThreadPoolExecutor(1, "prepare-data") as beside:
        try:
            yield beside.submit(work, report)
        except BaseException:
            given_up.set()
            raise


def run_sweep(plan: Plan, hub: Any, listeners: Sequence[RunListener]) -> SweepResult:
    """Search all arms on the lanes, then evaluate the best of each on the test classes."""
    is_grid = plan.sweep.search.sampler == "grid"
    result = SweepResult(plan.sweep.metric, main_arm=plan.arms[0].name, shows_all=is_grid)
    _search_all(plan, hub, result, listeners)
    _evaluate_best(plan, hub, result, listeners)
    return result


def _search_all(plan: Plan, hub: Any, result: SweepResult, listeners: Sequence[RunListener]) -> None:
    from mdr_tune.sweep.search_run import run_arm

    for arm in plan.arms:
        for listener in listeners:
            listener.arm_started(arm)
        mine: list[TrialRecord] = []
        try:
            run_arm(plan, arm, hub, mine, listeners)
        finally:
            result.records += mine
        if any(record.outcome == "killed" for record in mine):
            result.interrupted = True
            return


def _evaluate_best(plan: Plan, hub: Any, result: SweepResult, listeners: Sequence[RunListener]) -> None:
    from mdr_tune.sweep.finals import evaluate_on_test

    if result.interrupted:
        return
    for arm in plan.arms:
        record = best_record([r for r in result.records if r.arm == arm.name], result.metric)
        if record is None:
            continue
        _tell(listeners, f"evaluating {record.name} on the test classes")
        result.best[arm.name] = record
        result.test[arm.name] = evaluate_on_test(hub, record, result.metric)
        for listener in listeners:
            listener.test_scored(record, result.test[arm.name])


def _tell(listeners: Sequence[RunListener], text: str) -> None:
    for listener in listeners:
        listener.stage(text)
