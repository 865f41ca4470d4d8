"""Watch the lanes in a thread, and tell the user when lanes are up, lose a worker, or are missing for long.

Lines that the lanes' hub has for the user are shown, too.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from mdr_tune.util.progress import Progress, no_progress
from mdr_tune.util.words import count

logger = logging.getLogger(__name__)

POLL_S = 2.0
NOTICE_EVERY_S = 60.0
LANES_SHOWN = 8
MEASURED_EVERY_S = 10.0


Measured = Sequence[tuple[str | None, Mapping[str, float]]]
"""For each lane, the name of the trial that has it, or None, and the values of its machine by MLflow's names."""


class LaneWatch:
    """Context manager that polls the lanes' hub in a thread and calls `tell` with lines for the user.

    `measured` is called with what the workers measured of their machines, at most once in MEASURED_EVERY_S seconds.
    `hub` is the actor that leases the `num_lanes` lanes of the launch. `needs` are the resources, in words, that the
    workers of a lane need. A line says what has changed: lanes are up, lost or missing. `progress` is called with the
    lanes' reports on a long command, such as one that computes features.
    """

    def __init__(
        self,
        hub: Any,
        num_lanes: int,
        needs: str,
        tell: Callable[[str], None],
        progress: Progress = no_progress,
        measured: Callable[[Measured], None] = lambda measured: None,
    ) -> None:
        self._hub, self._tell, self._progress, self._measured = hub, tell, progress, measured
        self._measured_at = time.monotonic()
        self._news = LaneNews(num_lanes, lambda: _awaited(needs))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lane-watch", daemon=True)

    def __enter__(self) -> "LaneWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(POLL_S + 1)

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                asked = self._hub.lane_places, self._hub.take_news, self._hub.take_progress
                places, lines, progress = ray.get([method.remote() for method in asked])
            except RayError:
                return  # the sweep is being ended, or fails for a reason that is told elsewhere
            line = self._news.of(places, time.monotonic())
            for text in [*lines, *([line] if line is not None else [])]:
                if not self._stop.is_set():
                    self._tell(text)
            if progress is not None and not self._stop.is_set():
                self._progress(*progress)
            self._pass_on_measured()

    def _pass_on_measured(self) -> None:
        now = time.monotonic()
        if now - self._measured_at < MEASURED_EVERY_S:
            return
        self._measured_at = now
        try:
            found: Measured = ray.get(self._hub.take_measured.remote())
            if any(values for _, values in found):
                self._measured(found)
        except Exception:  # numbers beside the search must not end the watch
            logger.warning("the use of the machines was not recorded", exc_info=True)


def _awaited(needs: str) -> str:
    from mdr_tune.cluster.autoscaler import awaited

    try:
        return awaited(ray.get_runtime_context().gcs_address, needs)
    except Exception:
        logger.warning("could not find out what the lanes wait for", exc_info=True)
        return ""  # this text only adds to a line: an error in it must not end the watch


class LaneNews:
    """Decides when to tell the user about lanes that are up or missing. The launch has `num_lanes` lanes in all.

    `awaited` returns what the missing lanes wait for, in words; "" if that is not known.
    """

    def __init__(self, num_lanes: int, awaited: Callable[[], str]) -> None:
        self._num_lanes, self._awaited = num_lanes, awaited
        self._last = 0
        self._were_all_up = False
        self._next_notice: float | None = None

    def of(self, places: list[list[str]], now: float) -> str | None:
        """Return a line for the user; None if there is nothing to tell.

        A line is returned when all lanes have come up, when a lane is lost, and whenever lanes have been missing for
        another NOTICE_EVERY_S seconds.

        Args:
            places: For each lane, the addresses of its workers' nodes. The list is empty for a lane that is not up.
            now: Monotonic time in seconds.
        """
        before, self._last = self._last, sum(map(bool, places))
        ready = self._last
        if ready == self._num_lanes:
            again = " again" if self._were_all_up else ""
            self._were_all_up, self._next_notice = True, None
            where = _where(places)
            return f"the workers of {count(ready, 'lane')} are up{again}{where}" if before != ready else None
        if self._next_notice is None:
            self._next_notice = now + NOTICE_EVERY_S
        if ready < before:
            return "a lane lost a worker; its trial goes on from its last checkpoint, on the next lane that is free"
        if now >= self._next_notice:
            self._next_notice = now + NOTICE_EVERY_S
            why = self._awaited()
            return f"still waiting: {ready} of {count(self._num_lanes, 'lane')} up{f'; {why}' if why else ''}"
        return None


def _where(places: list[list[str]]) -> str:
    """Return a text on the nodes of each lane in `places`; "" if all lanes are on one node."""
    if len({address for lane in places for address in lane}) < 2:
        return ""
    texts = [f"lane {number} on {_nodes(lane)}" for number, lane in enumerate(places[:LANES_SHOWN], start=1)]
    more = f", and {len(places) - LANES_SHOWN} more" if len(places) > LANES_SHOWN else ""
    return f": {', '.join(texts)}{more}"


def _nodes(lane: list[str]) -> str:
    numbers = Counter(lane)
    return " and ".join(f"{address} ({number})" if number > 1 else address for address, number in numbers.items())
