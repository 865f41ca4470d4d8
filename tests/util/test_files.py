"""Pipes and devices in the places of files: told at once, where reading or writing them would never end."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.backbones.state_dicts import read_state_dict
from mdr_tune.cli.leaderboard import _write_text
from mdr_tune.config.yaml_lines import read_mapping
from mdr_tune.data.images.decoding import decode
from mdr_tune.data.own.table_file import read_table_file
from mdr_tune.retrieve.index_file import read_index
from mdr_tune.training.official import import_official
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import NotOnDisk, atomic_write, check_on_disk


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe that somebody writes nothing to: who reads it comes to its end, and the test fails."""
    file = tmp_path / "x.csv"
    os.mkfifo(file)
    writer = threading.Thread(target=lambda: os.close(os.open(file, os.O_WRONLY)), daemon=True)
    writer.start()
    yield file
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer.join()
    os.close(reader)


@pytest.mark.parametrize(
    "read",
    [
        lambda file: read_mapping(file, ["a"]),
        lambda file: read_table_file(file, {"path_column": "path"}),
        lambda file: decode(str(file), 8),
        read_index,
        read_state_dict,
        lambda file: import_official(file, "rescale"),
    ],
)
def test_a_pipe_is_no_file_to_read(pipe: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(UserError, match="it is a pipe, and a file on a disk is needed"):
        read(pipe)


def test_a_device_is_no_file_to_read() -> None:
    with pytest.raises(UserError, match=r"/dev/zero: cannot be read: it is a device, and a file on a disk is needed"):
        read_mapping(Path("/dev/zero"), ["a"])


def test_what_is_no_file_is_not_replaced_by_one(pipe: Path) -> None:
    with pytest.raises(NotOnDisk, match="it is a pipe"), atomic_write(pipe):
        pass
    assert pipe.is_fifo()
    assert os.listdir(pipe.parent) == [pipe.name]


def test_a_pipe_that_nobody_reads_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(UserError, match=r"--out .*/p: cannot be written \(No such device or address\)"):
        _write_text(tmp_path / "p", "text")


def test_a_device_that_is_full_is_told() -> None:
    with pytest.raises(UserError, match=r"--out /dev/full: cannot be written \(No space left on device\)"):
        _write_text(Path("/dev/full"), "text")


def test_files_folders_and_nothing_pass(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("", "file", "none"):
        check_on_disk(tmp_path / name)


def test_atomic_write_replaces_on_success(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_leaves_everything_as_it_was_on_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_gives_the_permissions_that_are_asked_for(tmp_path: Path) -> None:
    for name, mode in (("shared", 0o644), ("secret", 0o600)):
        with atomic_write(tmp_path / name, mode) as file:
            file.write(b"x")
        assert (tmp_path / name).stat().st_mode & 0o777 == mode
