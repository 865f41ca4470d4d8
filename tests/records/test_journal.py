"""The journal: what is written is read again, whatever a crash left of its end."""

import errno
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.records.journal import FILE, Journal, read_past, read_records
from mdr_tune.records.trial_record import Change
from mdr_tune.util import disk_space
from mdr_tune.util.errors import UserError
from tests.sweep.make import METRIC


def started(journal: Journal, name: str, number: int = 0) -> None:
    journal.write(
        "started", name=name, arm="mdr", number=number, seed_index=0, parameters={"mdr.weight": 0.1}, config={"seed": 0}
    )


def epoch(journal: Journal, name: str, number: int, recall: float) -> None:
    journal.write("epoch", name=name, metrics={"epoch": float(number), METRIC: recall})


def write_a_session(folder: Path) -> None:
    journal = Journal(folder, print)
    journal.write("session", command="launch.py", lanes=1)
    journal.write("tracked", parent_run_id="run", image_content="abc")
    started(journal, "mdr-001")
    epoch(journal, "mdr-001", 1, 50.0)
    journal.write("checkpoint", name="mdr-001", epoch=1, folder="a")
    started(journal, "mdr-002", 1)
    epoch(journal, "mdr-001", 2, math.nan)
    journal.write("checkpoint", name="mdr-001", epoch=2, folder="b")
    journal.write("dropped", name="mdr-001", epochs=[1])
    journal.write("changed", name="mdr-002", epoch=1, source="mdr-001", parameters={"mdr.weight": 0.2})
    journal.write("note", name="mdr-002", text="its process was lost")
    journal.write("ended", name="mdr-001", outcome="completed", error=None)
    journal.write("ended", name="mdr-002", outcome="killed", error=None)
    journal.write("tested", name="mdr-001", epoch=1, metrics={"test/recall_at_1": 40.0})
    journal.close()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_a_session(tmp_path)
    past = read_past(tmp_path)
    first, second = past.records
    assert (first.name, first.outcome, first.epochs, first.checkpoints) == ("mdr-001", "completed", 2, {2: "b"})
    assert first.history[0] == {"epoch": 1.0, METRIC: 50.0}
    assert math.isnan(first.history[1][METRIC])
    assert (second.outcome, second.notes) == ("killed", ["its process was lost"])
    assert second.changes == [Change(1, "mdr-001", {"mdr.weight": 0.2})]
    assert past.reports == [("mdr-001", 1, False), ("mdr-001", 2, False), ("mdr-001", 2, True)]
    assert past.tested == {"mdr-001": (1, {"test/recall_at_1": 40.0})}
    assert (past.sessions, past.parent_run_id, past.image_content, past.finished) == (1, "run", "abc", False)


def test_in_the_next_session_what_was_killed_goes_on(tmp_path: Path) -> None:
    write_a_session(tmp_path)
    journal = Journal(tmp_path, print)
    journal.write("session", command="launch.py --resume", lanes=1)
    journal.close()
    assert [record.outcome for record in read_records(tmp_path)] == ["completed", "running"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_is_dropped_and_written_over(tmp_path: Path, cut: int) -> None:
    write_a_session(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-cut])
    journal = Journal(tmp_path, print)
    journal.write("ended", name="mdr-002", outcome="failed", error="why")
    journal.close()
    lines = (tmp_path / FILE).read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in lines][-2:] == ["ended", "ended"]
    assert read_past(tmp_path).trial("mdr-002").outcome == "failed"
    assert len(lines) == len(whole.splitlines())


def test_two_processes_cannot_write_one_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path, print)
    with pytest.raises(UserError, match="is running"):
        Journal(tmp_path, print)
    journal.close()
    Journal(tmp_path, print).close()


def test_time_between_sessions_is_not_counted(tmp_path: Path) -> None:
    times = [("session", 100.0), ("finished", 130.0), ("session", 1000.0), ("extended", 1005.0)]
    lines = [json.dumps({"event": event, "time": time, "trials": 2}) for event, time in times]
    (tmp_path / FILE).write_text("\n".join(lines) + "\n")
    past = read_past(tmp_path)
    assert (past.used_s, past.sessions, past.extensions, past.finished) == (35.0, 2, [2], False)


def test_on_a_full_disk_it_waits_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    journal = Journal(tmp_path, told.append)
    journal.write("session", command="", lanes=1)

    class Full:
        """The file on a disk that has room for a few bytes, and later for all."""

        def __init__(self, file: Any) -> None:
            self._file, self.left = file, 2
            self.name = file.name

        def write(self, data: bytes) -> int:
            self.left -= 1
            if self.left > 0:
                return int(self._file.write(data[:5]))
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self._file.write(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    monkeypatch.setattr(disk_space, "POLL_S", 0.0)
    journal._file = Full(journal._file)  # type: ignore[assignment]
    started(journal, "mdr-001")
    assert [record.name for record in read_records(tmp_path)] == ["mdr-001"]
    assert len(told) == 2
    assert "the disk is full" in told[0]
    assert "room again" in told[1]
    journal.close()


def test_a_launch_without_a_journal_has_no_trials(tmp_path: Path) -> None:
    assert read_records(tmp_path) == []


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_the_checkpoints_of_a_launch_that_was_moved_or_copied_are_its_own(tmp_path: Path, how: str) -> None:
    before, now = (tmp_path / storage / "sweeps" / "letters" / "launch" for storage in ("runs", "elsewhere"))
    journal = Journal(before, print)
    started(journal, "mdr-001")
    journal.write("checkpoint", name="mdr-001", epoch=1, folder=str(before / "tune" / "mdr" / "checkpoint_1"))
    journal.write("checkpoint", name="mdr-001", epoch=2, folder="/another/place")
    journal.close()
    assert read_past(before).trial("mdr-001").checkpoints[1] == str(before / "tune" / "mdr" / "checkpoint_1")
    now.parent.mkdir(parents=True)
    if how == "moved":
        before.rename(now)
    else:
        shutil.copytree(before, now)
    checkpoints = read_past(now).trial("mdr-001").checkpoints
    assert checkpoints == {1: str(now / "tune" / "mdr" / "checkpoint_1"), 2: "/another/place"}


def test_an_extension_is_open_until_a_trial_starts(tmp_path: Path) -> None:
    journal = Journal(tmp_path, print)
    journal.write("extended", trials=2, replaces=False)
    assert read_past(tmp_path).has_open_extension
    journal.write("extended", trials=3, replaces=True)
    started(journal, "mdr-001")
    journal.write("extended", trials=4)  # as an older version wrote it
    journal.close()
    past = read_past(tmp_path)
    assert (past.extensions, past.has_open_extension) == ([3, 4], True)


def test_an_extension_in_place_of_none_is_damage(tmp_path: Path) -> None:
    journal = Journal(tmp_path, print)
    journal.write("extended", trials=3, replaces=True)
    journal.close()
    with pytest.raises(UserError, match="it replaces an extension, and there is none before it"):
        read_past(tmp_path)
