"""The journal of a launch: what happened, one JSON line each, on disk before anyone else hears of it.

It is the truth about a sweep. Optuna's study, MLflow and the schedulers are brought in line with it when a sweep is
resumed. Lines are only appended; one that was cut off by a crash is dropped when the file is opened again.
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
"""Events that must survive a power cut; an epoch that does not is trained again."""


class Journal:
    """Appends events to the journal of a launch.

    Args:
        folder: Of the launch; made if need be.
        tell: Is told if the disk is full and the sweep waits.

    Raises:
        UserError: Another process has it open: the launch is running.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.tell = tell
        self._file = (folder / FILE).open("ab", buffering=0)
        lock(self._file, folder)
        self._end = len(_whole_lines((folder / FILE).read_bytes()))
        self._file.truncate(self._end)

    def write(self, event: str, **content: Any) -> None:
        """Append one event, with the time."""
        line = json.dumps({"event": event, "time": round(time.time(), 3), **content}).encode() + b"\n"

        def append() -> None:
            self._file.truncate(self._end)  # what a full disk left of an earlier try
            if self._file.write(line) != len(line):
                raise OSError(28, "No space left on device")
            if event in _SYNCED:
                os.fsync(self._file.fileno())

        until_room(append, self._file.name, self.tell)
        self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def lock(file: BinaryIO, folder: Path) -> None:
    """Lock the journal of a launch for this process, until the file is closed or the process ends.

    Raises:
        UserError: Another process has it: the launch is running.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder.parent.name}: its launch {folder.name} is running; wait for it, or stop it") from None


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a launch in order; none if it has no journal.

    Raises:
        UserError: The journal cannot be read, or a line of it is damaged.
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
    """What a journal tells of a launch.

    Attributes:
        records: Its trials, in the order in which they started.
        reports: (trial, epoch, ended) in the order in which they came: epochs, and ends of trials.
        tested: Of the trials that were evaluated on the test classes, at which epoch, and their test metrics.
        searched: Arms whose search was over.
        extensions: Trials that were added to each arm later, each time.
        has_open_extension: No trial has started since the last extension: the launch that was to make it crashed.
        sessions: How often the launch was started.
        used_s: Wall time that its sessions took, until each one's last event.
        parent_run_id: Of the MLflow run.
        finished: The sweep came to its end, and was not extended since.
        image_content: A hash of the images that the trials are trained and measured on.
        folder: The launch's folder, below which its files are; None if none of them is asked for.
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
    folder: Path | None = None

    def trial(self, name: str) -> TrialRecord:
        """Return the record of a trial; ValueError if none was started by that name."""
        if name not in self._by_name:
            raise ValueError(f"no trial {name!r} was started")
        return self._by_name[name]

    def __post_init__(self) -> None:
        self._by_name: dict[str, TrialRecord] = {}
        self._began = self._last = 0.0

    def add(self, event: dict[str, Any]) -> None:
        """Take in the next event."""
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
        """Return where a file of the launch is now: a launch that was moved, or copied, has its own."""
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
            self.extensions.pop()
        self.extensions.append(event["trials"])
        self.has_open_extension = True
        self.finished = False
        self.searched.clear()

    def _finished(self, event: dict[str, Any]) -> None:
        self.finished = True


def read_past(folder: Path) -> Past:
    """Return what the journal of a launch tells; UserError if it is damaged."""
    past = Past(folder=folder.absolute())
    for number, event in enumerate(read_events(folder), 1):
        try:
            past.add(event)
        except ValueError as error:
            raise _damaged(folder / FILE, number, str(error)) from None
    return past


def read_records(folder: Path) -> list[TrialRecord]:
    """Return the trials of a launch, in the order in which they started; none if it has no journal."""
    return read_past(folder).records
