import logging
import threading
import time
from pathlib import Path

import pytest

from mdr_tune.util.cache_folder import cache_dir, check_cache_dir, locked
from mdr_tune.util.errors import UserError
from tests.waiting import wait_for


def test_own_variable_wins_then_xdg_then_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("MDR_TUNE_CACHE")
    assert cache_dir() == tmp_path / "xdg" / "mdr_tune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / "home" / ".cache" / "mdr_tune"
    assert cache_dir().is_dir()


def test_unwritable_home_names_the_variable_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, so that not even root can make a folder in it")
    monkeypatch.delenv("MDR_TUNE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match="set the environment variable MDR_TUNE_CACHE to a writable folder"):
        cache_dir()


def test_a_cache_that_cannot_be_made_is_known_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for place, why in (
        (tmp_path / "file" / "x", f"{tmp_path}/file is a file"),
        (tmp_path / "loop", f"{tmp_path}/loop is a link that leads nowhere"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path("/proc/x"), "No such file or directory"),
    ):
        monkeypatch.setenv("MDR_TUNE_CACHE", str(place))
        with pytest.raises(UserError) as error:
            check_cache_dir()
        assert str(error.value).startswith(f"cannot write to the cache folder {place} ({why}): set the environment")
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "new" / "cache"))
    assert check_cache_dir() == tmp_path / "new" / "cache"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside = threading.Semaphore(1)
    overlaps = []

    def enter() -> None:
        for _ in range(50):
            with locked(tmp_path / "file"):
                if not inside.acquire(blocking=False):
                    overlaps.append(1)
                    continue
                inside.release()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not overlaps


def test_who_waits_for_another_says_for_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"

    def wait() -> None:
        with locked(path):
            pass

    with caplog.at_level(logging.WARNING):
        wait()
        with locked(path):
            waiting = threading.Thread(target=wait)
            waiting.start()
            wait_for(lambda: bool(caplog.messages), "a warning")
            assert waiting.is_alive()
        waiting.join()
    assert caplog.messages == [f"waiting for another process that is making {path}"]


def test_a_lock_that_is_free_again_at_once_is_waited_for_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = threading.Event()

    def hold() -> None:
        with locked(tmp_path / "file"):
            held.set()
            time.sleep(0.1)

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    with locked(tmp_path / "file"):
        pass
    holding.join()
    assert caplog.messages == []
