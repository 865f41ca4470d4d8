"""Start and stop Ray and the lanes of a launch. The images are prepared in a thread while Ray starts."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mdr_tune.cluster.ray_environment import prepare_environment
from mdr_tune.lanes.ray_seams import end_ray_at_once
from mdr_tune.sweep import prepare
from mdr_tune.sweep.interrupts import ends_at_once_if_interrupted
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.ray_session import ray_session
from mdr_tune.util.last_word import errors_are_the_last_word
from mdr_tune.util.progress import Progress
from mdr_tune.util.signals import raise_if_interrupted


@contextlib.contextmanager
def running_lanes(plan: Plan, progress: Progress, stage: Callable[[str], None]) -> Iterator[Any]:
    """Start Ray and the lanes of `plan`, yield the hub that leases the lanes, and stop all of them after the block.

    The hub is yielded at once, while the workers of the lanes are still importing their modules. `progress` is called
    while the images are prepared, and `stage` with each line that the preflight has for the user.

    Raises:
        UserError: The data set cannot be obtained or does not fit the sweep, Ray cannot be started or joined, or the
            preflight found a problem. In each case no worker has been started.
    """
    prepare_environment()
    import ray  # noqa: F401  (before the thread, which would slow it down)

    # A start of Ray is mostly waiting for its processes, so the images are prepared beside it. Their thread must not
    # import any part of Ray, whose imports are circular.
    with (
        _beside(lambda report: prepare.prepare_data(plan.sweep, report), progress) as data_is_ready,
        ray_session(plan.address, plan.machine.cpus),
    ):
        with prepare.naming(plan.file, plan.overrides):
            data_is_ready.result()
        raise_if_interrupted()
        if plan.preflight:
            from mdr_tune.sweep.preflight.preflight import run_preflight

            run_preflight(plan, stage)
            raise_if_interrupted()
        plan.folder.mkdir(parents=True, exist_ok=True)  # not before: a launch that is refused leaves nothing
        from mdr_tune.lanes.lane import Lanes

        session = f"-{plan.past.sessions}" if plan.resumes else ""  # Ray Train resumes a run of the same name
        lanes = Lanes(
            plan.lanes,
            f"{plan.sweep.name}-{plan.launch}{session}",
            plan.folder / "lanes",
            _preparation(plan),
            plan.code,
        )
        try:
            with errors_are_the_last_word():  # a shutdown of Ray that goes wrong may end this process
                yield lanes.hub
        finally:
            with ends_at_once_if_interrupted(end_ray_at_once):
                lanes.stop()


def _preparation(plan: Plan) -> Callable[[], None] | None:
    """Return the function that prepares a worker's node; None on a single machine, which is prepared already."""
    if plan.address is None:
        return None
    from mdr_tune.sweep.preflight.preparation import NodePreparation, contents
    from mdr_tune.sweep.preflight.probe import versions

    uses_gpus = plan.lanes.gpus_per_worker > 0
    return NodePreparation(plan.sweep, versions(), contents(plan.sweep), uses_gpus)


@contextlib.contextmanager
def _beside(work: Callable[[Progress], None], progress: Progress) -> Iterator[Future[None]]:
    """Run `work` in a thread while the block runs; yield the future of its result.

    `work` gets a function to which it reports its progress, and which passes the report to `progress`. If an error or
    Ctrl-C ends the block, `work` ends the next time that it reports.
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
