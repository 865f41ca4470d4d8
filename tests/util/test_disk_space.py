import shutil
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.util.disk_space import check_free, format_bytes
from mdr_tune.util.errors import UserError


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (123_456, "123 kB"),
        (999_999, "1,000 kB"),
        (1_150_585_339, "1.15 GB"),
        (23_600_000_000, "23.6 GB"),
        (5_000_000_000_000, "5,000 GB"),
    ],
)
def test_sizes_as_people_read_them(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


def test_room_is_checked_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2000))
    check_free(tmp_path, 2000, "to unpack x")
    with pytest.raises(UserError) as caught:
        check_free(tmp_path, 2001, "to unpack x")
    assert str(caught.value) == (
        f"not enough disk space to unpack x: 2 kB are needed and 2 kB are free in {tmp_path}. "
        "Make room, or choose a folder on another disk"
    )


def test_the_disk_is_asked(tmp_path: Path) -> None:
    check_free(tmp_path, 1, "to unpack x")
    with pytest.raises(UserError, match="are free"):
        check_free(tmp_path, 2**62, "to unpack x")
