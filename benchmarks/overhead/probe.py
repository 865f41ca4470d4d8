"""`launch.py`'s main with stamps around its parts. Run by `launch.py` of this folder, in a process of its own.

    python -m overhead.probe STAMPS_FILE [arguments of launch.py]

Writes a JSON list of [name, begin, end], in seconds since the epoch. Wraps functions of mdr_tune; imports nothing that
`launch.py` would not have imported by then.
"""

import time

ENTERED = time.time()

import contextlib  # noqa: E402
import functools  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

SPANS: list[tuple[str, float, float]] = []


@contextlib.contextmanager
def span(name: str) -> Iterator[None]:
    """Record when a block began and ended."""
    begin = time.time()
    try:
        yield
    finally:
        SPANS.append((name, begin, time.time()))


def mark(name: str) -> None:
    """Record a moment."""
    now = time.time()
    SPANS.append((name, now, now))


def timed(owner: Any, attribute: str, name: str, after: Callable[[], None] = lambda: None) -> None:
    """Replace a function by itself with a span around; then call `after`, within the span."""
    function = getattr(owner, attribute)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with span(name):
            result = function(*args, **kwargs)
            after()
            return result

    setattr(owner, attribute, wrapper)


def watch_ray(running_lanes: Any) -> None:
    """Split the start of Ray, and of hub and trainers, once it is there."""

    def import_ray() -> None:
        with span("import ray"):
            import ray  # noqa: F401

    timed(running_lanes, "prepare_environment", "environment", after=import_ray)
    session = running_lanes.ray_session

    @contextlib.contextmanager
    def wrapper(*args: Any) -> Iterator[None]:
        begin = time.time()
        with session(*args):
            SPANS.append(("ray.init", begin, time.time()))
            with span("import of lanes"):
                watch_lanes()
            yield
            begin = time.time()
        SPANS.append(("ray.shutdown", begin, time.time()))

    running_lanes.ray_session = wrapper


def watch_lanes() -> None:
    """Have the hub keep stamps of what reaches it, and fetch them before the lanes stop."""
    import ray

    from mdr_tune.lanes import lane

    lane.LaneHub = _stamping(lane.LaneHub)
    stop = lane.Lanes.stop

    def fetch_and_stop(self: Any) -> None:
        SPANS.extend(ray.get(self.hub.spans.remote()))
        with span("lanes stopped"):
            stop(self)

    lane.Lanes.stop = fetch_and_stop
    timed(lane, "start_hub", "hub")
    timed(lane.Lanes, "_trainer", "trainer")
    timed(lane.Lanes, "__init__", "lanes")


def _stamping(hub_class: type) -> type:
    """Return a hub that remembers joins, leases and commands. Made in a function, it travels to the actor by value."""

    class StampingHub(hub_class):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._spans: list[tuple[str, float, float]] = [("hub runs", time.time(), time.time())]

        async def spans(self) -> list[tuple[str, float, float]]:
            return self._spans

        async def lease(self, *args: Any) -> Any:
            begin = time.time()
            outcome = await super().lease(*args)
            self._spans.append(("lease", begin, time.time()))
            return outcome

        async def join(self, *args: Any) -> Any:
            self._spans.append(("join", time.time(), time.time()))
            return await super().join(*args)

        async def submit(self, holder: str, kind: Any, *args: Any) -> Any:
            begin = time.time()
            outcome = await super().submit(holder, kind, *args)
            self._spans.append((f"command {kind}", begin, time.time()))
            return outcome

    return StampingHub


def watch_search(run: Any) -> None:
    """Split the search's import and the Tuner's start."""
    search = run.SweepRun.search

    def wrapper(self: Any) -> None:
        with span("import of the search"):
            watch_tuner()
        search(self)

    run.SweepRun.search = wrapper


def watch_tuner() -> None:
    """Stamp what begins a search on the driver."""
    from mdr_tune.sweep import search_run

    timed(search_run.ArmRun, "_open_search", "study")
    timed(search_run.Tuner, "__init__", "tuner")
    timed(search_run.Tuner, "fit", "fit")


def watch_status(status_class: Any) -> None:
    """Stamp what Tune tells the listeners."""
    for method in ("trial_started", "epoch_finished", "trial_ended"):
        timed(status_class, method, method.replace("_", " "))


def watch() -> Callable[[list[str]], int]:
    """Import launch.py's main and put stamps around its parts; returns it."""
    with span("import of launch.py"):
        from mdr_tune.cli import launch as command
        from mdr_tune.cli.status import Status
        from mdr_tune.sweep import launch, prepare, recording, run, running_lanes
    timed(command, "make_plan", "plan")
    timed(launch, "_open_tracker", "tracker")
    timed(recording, "_register_winner", "champion")
    timed(recording, "_draw_figures", "figures")
    timed(prepare, "prepare_data", "data")
    timed(run.SweepRun, "evaluate", "test evaluation")
    watch_ray(running_lanes)
    watch_search(run)
    watch_status(Status)
    return command.main


def main() -> int:
    """Stamp a launch; returns its exit code."""
    stamps, argv = Path(sys.argv[1]), sys.argv[2:]
    SPANS.append(("process entered", ENTERED, ENTERED))
    code = watch()(argv)
    mark("command returned")
    stamps.write_text(json.dumps(SPANS))
    return code


if __name__ == "__main__":
    sys.exit(main())
