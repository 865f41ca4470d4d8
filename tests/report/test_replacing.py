"""A folder takes the place of another: whole, at once with others, and after a crash."""

import os
import threading
from pathlib import Path

import pytest

from mdr_tune.report.report_folder import ABANDONED_S, replacing, restore
from tests.waiting import HANG_S


def write(folder: Path, text: str) -> None:
    with replacing(folder) as made:
        (made / "a").write_text(text)


def test_the_new_one_takes_the_place_with_usual_rights(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "of" / "r", text)
        assert (tmp_path / "of" / "r" / "a").read_text() == text
    (tmp_path / "of" / "usual").mkdir()
    assert (tmp_path / "of" / "r").stat().st_mode == (tmp_path / "of" / "usual").stat().st_mode
    assert sorted(path.name for path in (tmp_path / "of").iterdir()) == ["r", "usual"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_while_it_is_made_changes_nothing(error: type[BaseException], tmp_path: Path) -> None:
    write(tmp_path / "r", "old")

    def half() -> None:
        with replacing(tmp_path / "r") as made:
            (made / "a").write_text("half")
            raise error

    with pytest.raises(error):
        half()
    assert (tmp_path / "r" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("error", [OSError(13, "no"), KeyboardInterrupt()])
def test_an_error_between_the_two_moves_puts_the_old_one_back(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "r", "old")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(type(error)):
        write(tmp_path / "r", "new")
    assert (tmp_path / "r" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_what_a_crash_between_the_two_moves_hid_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "r[1]", "old")  # a name that is a pattern, too
    (tmp_path / "r[1]").rename(tmp_path / ".r[1].0123abcd.old")
    restore(tmp_path / "r[1]")
    assert (tmp_path / "r[1]" / "a").read_text() == "old"
    write(tmp_path / ".r[1].0123abcd.old", "older")  # a crash after both
    restore(tmp_path / "r[1]")
    assert (tmp_path / "r[1]" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r[1]"]


def test_what_another_makes_now_is_left_and_what_a_crash_left_long_ago_is_removed(tmp_path: Path) -> None:
    for name in (".r.01234567.part", ".r.89abcdef.part", ".rr.01234567.part"):
        (tmp_path / name).mkdir()
    for name in (".r.89abcdef.part", ".rr.01234567.part"):
        os.utime(tmp_path / name, (0, (tmp_path / name).stat().st_mtime - ABANDONED_S - 60))
    write(tmp_path / "r", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".r.01234567.part", ".rr.01234567.part", "r"]


def test_several_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    write(tmp_path / "r", "old")
    ready, failures = threading.Barrier(4), []

    def one(number: int) -> None:
        try:
            for turn in range(15):
                with replacing(tmp_path / "r") as made:
                    for name in "abc":
                        (made / name).write_text(f"{number} {turn}")
                    ready.wait(HANG_S)
        except Exception as error:
            failures.append(error)
            ready.abort()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert len({file.read_text() for file in (tmp_path / "r").iterdir()}) == 1
    assert len(list((tmp_path / "r").iterdir())) == 3


def test_a_link_that_leads_round_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "r").symlink_to("r")
    with pytest.raises(OSError, match="Too many levels"):
        write(tmp_path / "r", "new")
    (tmp_path / "link").symlink_to("made/later")
    write(tmp_path / "link", "new")
    assert (tmp_path / "made" / "later" / "a").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "made", "r"]
