"""What is measured on the driver: when each report had been dealt with, and what memory the driver had then."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


@dataclass
class Stamps:
    """One side, measured. Entry `i` of each list belongs to report `i`, from 0.

    Attributes:
        at_s: When the driver was done with it, in seconds from the call of Tune.
        cpu_s: Processor time of the driver by then, all of its threads.
        rss_mib: The driver's resident memory.
        queued: Writes to MLflow that waited.
        searched_s: When Tune returned.
        written_s: When all was written.
        values: The last value of each trial, in the order in which they ended.
        load: The machine's load average at the start and at the end.
    """

    at_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    searched_s: float = 0.0
    written_s: float = 0.0
    values: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """Write all of it."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load_from(cls, file: Path) -> "Stamps":
        """Read what `save` wrote."""
        values: dict[str, Any] = json.loads(file.read_text())
        return cls(**values)


class Meter:
    """Fills in the stamps.

    Args:
        queued: How many writes wait.
    """

    def __init__(self, queued: Callable[[], int] = lambda: 0) -> None:
        self.stamps = Stamps(load=[os.getloadavg()[0]])
        self._queued = queued
        self._began, self._began_cpu = time.perf_counter(), time.process_time()

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def report(self) -> None:
        """A report has been dealt with."""
        stamps = self.stamps
        stamps.at_s.append(self._now())
        stamps.cpu_s.append(time.process_time() - self._began_cpu)
        stamps.rss_mib.append(resident_mib())
        stamps.queued.append(self._queued())

    def ended(self, value: float) -> None:
        """A trial ended, with this value."""
        self.stamps.values.append(value)

    def searched(self) -> None:
        """Tune returned."""
        self.stamps.searched_s = self._now()

    def written(self) -> None:
        """All is written."""
        self.stamps.written_s = self._now()
        self.stamps.load.append(os.getloadavg()[0])
