"""The journal of a launch: a file with one JSON line for each event. Each event is written there before anywhere else.

The journal is the truth about a sweep: a resume brings Optuna's study, MLflow and the schedulers in line with it. Lines
are only appended. If a crash cut off the last line, this line is dropped when the file is opened again.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.journal_events import parse_event
from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.util.disk_space import until_room
from mdr_tune.util.errors import UserError

FILE = "journal.jsonl"
_SYNCED = ("session", "started", "ended", "searched", "tested", "finished", "extended")
"""Events that `write` syncs to the disk, to survive a power cut. An epoch whose event is lost is trained again."""


class Journal:
    """Append events to the journal in a launch's `folder`, which is created if it does not exist.

    `tell` is called with a line for the user when a full disk makes the sweep wait. Raise UserError if another process
    has the journal open, which means that the launch is running there.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.tell = tell
        self._file = (folder / FILE).open("ab", buffering=0)
        lock(self._file, folder)
        self._end = len(_whole_lines((folder / FILE).read_bytes()))
        self._file.truncate(self._end)

    def write(self, event: str, **content: Any) -> None:
        """Append one `event`, such as `started`, with the current time and its `content`. Wait if the disk is full."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **content}).encode() + b"\n"

        def append() -> None:
            self._file.truncate(self._end)  # drops what an earlier try wrote before the disk was full
            if self._file.write(line) != len(line):
                raise OSError(28, "No space left on device")
            if event in _SYNCED:
                os.fsync(self._file.fileno())

        until_room(append, self._file.name, self.tell)
        self._end += len(line)

    def close(self) -> None:
        """Close the journal's file."""
        self._file.close()


def lock(file: BinaryIO, folder: Path) -> None:
    """Lock the journal's open `file` until the file is closed or this process ends.

    Raise UserError if another process has locked `file`: the launch in `folder` is running there.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder.parent.name}: its launch {folder.name} is running; wait for it, or stop it") from None


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of the launch in `folder` in order, or nothing if it has no journal.

    Raise UserError if the journal cannot be read, or if one of its lines is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return
    try:
        lines = _whole_lines(file.read_bytes()).splitlines()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        try:
            yield parse_event(line)
        except ValueError as error:
            raise _damaged(file, number, str(error)) from None


def _damaged(file: Path, number: int, why: str) -> UserError:
    return UserError(
        f"{file}:{number}: is damaged, or of another version of this program: {why}. What stands before that line is "
        "whole: to go on from there, keep a copy of the file and delete the line and all below it"
    )


@dataclass
class Past:
    """State of a launch, as far as its journal records it.

    Attributes:
        records: Trials of the launch, in the order in which they started.
        reports: A tuple (trial's name, epoch, whether the trial ended) for each finished epoch and each end of a trial.
        tested: The evaluated epoch and the test metrics of each trial that was evaluated on the test classes, by name.
        searched: Names of the arms whose search is over.
        extensions: For each extension of the sweep, the number of trials that it added to each arm.
        has_open_extension: Whether the sweep was extended, but none of the added trials has started yet.
        sessions: Number of times that the launch was started or resumed.
        used_s: Total wall time of the sessions, in seconds. A session counts from its start to its last event.
        parent_run_id: Id of the launch's MLflow run.
        finished: Whether the sweep came to its end and has not been extended since.
        image_content: Hash of the images that the trials are trained and evaluated on.
        code: Record of the user's own modules, from `UserCode.describe`; None if there are none.
        packages: Versions of the installed packages that the sweep's import paths lead to, by package.
        folder: Present folder of the launch. Recorded paths of checkpoints are changed to it, unless it is None.
    """

    records: list[TrialRecord] = field(default_factory=list)
    reports: list[tuple[str, int, bool]] = field(default_factory=list)
    tested: dict[str, tuple[int, dict[str, float]]] = field(default_factory=dict)
    searched: set[str] = field(default_factory=set)
    extensions: list[int] = field(default_factory=list)
    has_open_extension: bool = False
    sessions: int = 0
    used_s: float = 0.0
    parent_run_id: str | None = None
    finished: bool = False
    image_content: str | None = None
    code: dict[str, Any] | None = None
    packages: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def trial(self, name: str) -> TrialRecord:
        """Return the record of the trial `name`. Raise ValueError if no trial of this name was started."""
        if name not in self._by_name:
            raise ValueError(f"no trial {name!r} was started")
        return self._by_name[name]

    def __post_init__(self) -> None:
        self._by_name: dict[str, TrialRecord] = {}
        self._began = self._last = 0.0

    def add(self, event: dict[str, Any]) -> None:
        """Update the state by the journal's next `event`. Raise ValueError if the event contradicts an earlier one."""
        if event["event"] == "session":
            self._began = event["time"]
        self.used_s += max(0.0, event["time"] - max(self._began, self._last))
        self._last = event["time"]
        getattr(self, f"_{event['event']}")(event)

    def _session(self, event: dict[str, Any]) -> None:
        self.sessions += 1
        for record in self.records:
            if record.outcome == "killed":
                record.outcome = "running"

    def _tracked(self, event: dict[str, Any]) -> None:
        self.parent_run_id = event["parent_run_id"]
        self.image_content = event.get("image_content")
        self.code = event.get("code")
        self.packages = event.get("packages", {})

    def _started(self, event: dict[str, Any]) -> None:
        keys = ("name", "arm", "number", "seed_index", "parameters", "config")
        record = TrialRecord(**{key: event[key] for key in keys})
        if record.name in self._by_name:
            raise ValueError(f"trial {record.name} starts a second time")
        self._by_name[record.name] = record
        self.records.append(record)
        self.has_open_extension = False

    def _epoch(self, event: dict[str, Any]) -> None:
        record = self.trial(event["name"])
        record.history.append(event["metrics"])
        record.device = event.get("device") or record.device
        if "distances" in event:
            record.distances.append(DistanceSnapshot.from_dict(event["distances"]))
        self.reports.append((record.name, record.epochs, False))

    def _checkpoint(self, event: dict[str, Any]) -> None:
        self.trial(event["name"]).checkpoints[event["epoch"]] = self._present(event["folder"])

    def _present(self, recorded: str) -> str:
        """Return the present path of a checkpoint at the path `recorded`: the launch's folder may have been moved."""
        if self.folder is None:
            return recorded
        parts, launch = Path(recorded).parts, (self.folder.parent.name, self.folder.name)
        for end in range(len(parts), 1, -1):
            if parts[end - 2 : end] == launch:
                return str(self.folder.joinpath(*parts[end:]))
        return recorded

    def _dropped(self, event: dict[str, Any]) -> None:
        for epoch in event["epochs"]:
            self.trial(event["name"]).checkpoints.pop(epoch, None)

    def _changed(self, event: dict[str, Any]) -> None:
        change = Change(event["epoch"], event["source"], event["parameters"])
        record = self.trial(event["name"])
        if change not in record.changes:
            record.changes.append(change)

    def _note(self, event: dict[str, Any]) -> None:
        self.trial(event["name"]).notes.append(event["text"])

    def _ended(self, event: dict[str, Any]) -> None:
        record = self.trial(event["name"])
        record.outcome, record.error = event["outcome"], event["error"]
        if record.ended:
            self.reports.append((record.name, record.epochs, True))

    def _searched(self, event: dict[str, Any]) -> None:
        self.searched.add(event["arm"])

    def _tested(self, event: dict[str, Any]) -> None:
        self.tested[event["name"]] = (event["epoch"], event["metrics"])

    def _extended(self, event: dict[str, Any]) -> None:
        if event.get("replaces"):
            if not self.extensions:
                raise ValueError("it replaces an extension, and there is none before it")
            self.extensions.pop()
        self.extensions.append(event["trials"])
        self.has_open_extension = True
        self.finished = False
        self.searched.clear()

    def _finished(self, event: dict[str, Any]) -> None:
        self.finished = True


def read_past(folder: Path) -> Past:
    """Return the state of the launch in `folder` from its journal. Raise UserError if the journal is damaged."""
    past = Past(folder=folder.absolute())
    for number, event in enumerate(read_events(folder), 1):
        try:
            past.add(event)
        except ValueError as error:
            raise _damaged(folder / FILE, number, str(error)) from None
    return past


def read_records(folder: Path) -> list[TrialRecord]:
    """Return the trials of the launch in `folder`, in the order in which they started; none if there is no journal."""
    return read_past(folder).records
