import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from mdr_tune.data.images import image_cache, thread_map
from mdr_tune.data.images.abandoned import abandoned_sizes
from mdr_tune.data.images.cached_images import CachedImages
from mdr_tune.data.images.image_cache import CacheFile, DamagedCacheError, cached_files, verify
from mdr_tune.data.images.image_cache_build import find_cache, open_cache
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.errors import UserError
from tests.data.images.pictures import expected_images, read_as_the_authors, truncate, write_pictures

NUMBER, SIZE, BATCH_ROWS = 11, 16, 4

CHILD = """
import sys
from pathlib import Path
from mdr_tune.data.images import image_cache
from mdr_tune.data.images.image_cache_build import open_cache

image_cache._MOST_BATCH_ROWS = 4

def progress(what, done, total):
    if what.startswith("decoding images") and done == total:
        print("all but the last batch is written", flush=True)
        sys.stdin.readline()

root, folder, *paths = sys.argv[1:]
open_cache("cub200", Path(root), paths, Path(folder), progress, size=16, corrupt="refuse")
"""


class Builds:
    """A progress that counts how often images are decoded."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, what: str, done: int, _total: int) -> None:
        self.number += what.startswith("decoding images") and done == 0


class Case:
    """A folder of pictures, and an empty cache folder."""

    def __init__(self, tmp_path: Path) -> None:
        self.root, self.folder = tmp_path / "data", tmp_path / "cache"
        self.paths = write_pictures(self.root, NUMBER)
        self.folder.mkdir()
        self.builds = Builds()

    def open(self, progress: Callable[[str, int, int], None] | None = None, **changes: object) -> CacheFile:
        arguments = {"size": SIZE, "corrupt": "refuse", "root": self.root, "paths": self.paths} | changes
        return open_cache("cub200", folder=self.folder, progress=progress or self.builds, **arguments)

    def find(self, **changes: Any) -> CacheFile | None:
        arguments = {"size": SIZE, "corrupt": "refuse", "root": self.root, "paths": self.paths} | changes
        return find_cache("cub200", folder=self.folder, **arguments)

    def images(self, **changes: object) -> torch.Tensor:
        images = CachedImages(self.open(**changes))
        return images[torch.arange(len(images))]

    def expected(self) -> torch.Tensor:
        return expected_images(self.root, self.paths, SIZE)

    def files(self, pattern: str = "*.arrow") -> list[Path]:
        return sorted((self.folder / "images").glob(pattern))

    def left_nothing(self) -> bool:
        """Whether there is neither a cache nor a part of one."""
        return {path.suffix for path in self.files("*")} <= {".json", ".lock"}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(image_cache, "_MOST_BATCH_ROWS", BATCH_ROWS)
    return Case(tmp_path)


@pytest.fixture
def paused_build(case: Case) -> Iterator[subprocess.Popen[str]]:
    """Another process that is building the case's cache, and waits for a line before it writes the last batch."""
    arguments = [sys.executable, "-c", CHILD, str(case.root), str(case.folder), *case.paths]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "all but the last batch is written\n"
            yield child
        finally:
            child.kill()


def test_images_are_those_of_an_independent_reading(case: Case) -> None:
    assert torch.equal(case.images(), case.expected())


def test_any_program_that_reads_arrow_can_read_the_file(case: Case) -> None:
    path = case.open().path
    assert path.name.startswith("cub200-16px-")
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    assert table.column_names == ["path", "image", "crc32", "error"]
    assert [len(chunk) for chunk in table["path"].chunks] == [4, 4, 3]
    assert table["path"].to_pylist() == case.paths
    assert table["error"].null_count == NUMBER
    expected = [read_as_the_authors(case.root / path, SIZE).tobytes() for path in case.paths]
    assert table["image"].to_pylist() == expected
    assert table["crc32"].to_pylist() == [zlib.crc32(image) for image in expected]
    assert table.schema.metadata[b"rows"] == str(NUMBER).encode()


def test_second_start_decodes_nothing(case: Case) -> None:
    file = case.open()
    before = (file.path.stat().st_ino, file.path.stat().st_mtime_ns)
    again = case.open()
    assert (again.path, (again.path.stat().st_ino, again.path.stat().st_mtime_ns)) == (file.path, before)
    assert case.builds.number == 1


def test_what_would_be_opened_is_found_and_nothing_is_written(case: Case) -> None:
    def everything() -> list[tuple[Path, int]]:
        return [(path, path.stat().st_mtime_ns) for path in sorted(case.folder.rglob("*"))]

    assert case.find() is None
    assert everything() == []
    built, before = case.open(), everything()
    found = case.find()
    assert found is not None
    assert found.path == built.path
    assert [case.find(size=SIZE + 1), case.find(paths=case.paths[1:])] == [None, None]
    assert everything() == before
    truncate(built.path)
    before = everything()
    assert case.find() is None
    assert everything() == before


def test_corrupt_images_of_a_cache_that_is_found_are_refused_or_told(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    (case.root / case.paths[3]).write_bytes(b"")
    case.open(corrupt="skip")
    caplog.clear()
    assert case.find(corrupt="skip") is not None
    assert f"{case.paths[3]} (" in caplog.text
    with pytest.raises(UserError, match=r"data\.corrupt: 1 of 11 images cannot be decoded"):
        case.find()


def test_copy_of_the_data_set_shares_its_cache(case: Case, tmp_path: Path) -> None:
    case.open()
    shutil.copytree(case.root, tmp_path / "copy", copy_function=shutil.copyfile)  # other times
    assert torch.equal(case.images(root=tmp_path / "copy"), case.expected())
    assert (case.builds.number, len(case.files())) == (1, 1)


def test_changed_image_other_size_or_other_order_is_another_cache(case: Case) -> None:
    case.open()
    shutil.copyfile(case.root / case.paths[0], case.root / case.paths[1])
    assert torch.equal(case.images(), case.expected())
    assert case.images(size=8).shape == (NUMBER, 3, 8, 8)
    assert torch.equal(case.images(paths=case.paths[::-1]), case.expected().flip(0))
    assert (case.builds.number, len(case.files())) == (4, 4)


def test_no_files_make_an_empty_cache(case: Case) -> None:
    assert [case.images(paths=[]).shape for _ in range(2)] == [(0, 3, SIZE, SIZE)] * 2
    assert case.builds.number == 1


def test_file_name_that_is_no_utf8(case: Case) -> None:
    strange = os.fsdecode(b"a/\xff.jpg")
    shutil.copyfile(case.root / case.paths[0], case.root / strange)
    assert torch.equal(case.images(paths=[strange])[0], case.expected()[0])
    case.open(paths=[strange])
    assert case.builds.number == 1


# ---- corrupt images


def test_corrupt_images_are_all_named_and_nothing_is_kept(case: Case) -> None:
    truncate(case.root / case.paths[1])
    (case.root / case.paths[9]).write_bytes(b"")
    with pytest.raises(UserError) as caught:
        case.open()
    assert str(caught.value) == (
        f"data.corrupt: 2 of 11 images cannot be decoded: {case.paths[1]} (truncated), {case.paths[9]} (empty file); "
        "mend or delete them, or set data.corrupt: skip"
    )
    assert case.left_nothing()


def test_skipped_images_are_left_out_with_a_warning(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    expected = case.expected()
    truncate(case.root / case.paths[0])
    truncate(case.root / case.paths[6])
    kept = [row for row in range(NUMBER) if row not in (0, 6)]
    for _ in range(2):
        caplog.clear()
        file = case.open(corrupt="skip")
        assert file.readable.tolist() == kept
        assert torch.equal(CachedImages(file)[torch.arange(len(kept))], expected[kept])
        (warning,) = caplog.messages
        assert f"2 of 11 images cannot be decoded: {case.paths[0]} (truncated), {case.paths[6]}" in warning
    table = pa.ipc.open_file(file.path.read_bytes()).read_all()
    assert np.flatnonzero(table["image"].is_null()).tolist() == [0, 6]
    assert [table["error"][row].as_py() for row in (0, 6)] == ["truncated", "truncated"]
    assert verify(file.path) == []
    assert case.builds.number == 1


def test_refusing_after_skipping_needs_no_decoding(case: Case) -> None:
    truncate(case.root / case.paths[3])
    case.open(corrupt="skip")
    with pytest.raises(UserError, match=rf"data.corrupt: 1 of 11 images cannot be decoded: {case.paths[3]} \(trunc"):
        case.open(corrupt="refuse")
    assert (case.builds.number, len(case.files())) == (1, 1)


def test_mended_image_is_taken_in(case: Case) -> None:
    content = (case.root / case.paths[3]).read_bytes()
    truncate(case.root / case.paths[3])
    assert len(case.images(corrupt="skip")) == NUMBER - 1
    (case.root / case.paths[3]).write_bytes(content)
    assert torch.equal(case.images(corrupt="skip"), case.expected())


def test_skipping_all_images_is_an_error(case: Case) -> None:
    for path in case.paths:
        truncate(case.root / path)
    with pytest.raises(UserError, match=r"11 of 11 images cannot be decoded.*none would be left"):
        case.open(corrupt="skip")
    assert case.left_nothing()


def test_long_list_of_corrupt_images_is_cut(case: Case) -> None:
    paths = [*case.paths, *(f"empty_{number}.jpg" for number in range(25))]
    for path in paths[NUMBER:]:
        (case.root / path).touch()
    with pytest.raises(UserError, match=r"25 of 36 images .*empty_19.jpg \(empty file\) and 5 more; mend"):
        case.open(paths=paths)


# ---- damaged files


def without_last_batch(content: bytes) -> bytes:
    reader, shorter = pa.ipc.open_file(content), pa.BufferOutputStream()
    with pa.ipc.new_file(shorter, reader.schema) as writer:
        for number in range(reader.num_record_batches - 1):
            writer.write_batch(reader.get_batch(number))
    return bytes(shorter.getvalue().to_pybytes())


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    whole = pa.py_buffer(content)
    batch = pa.ipc.open_file(whole).get_batch(0)
    first = content.index(batch["image"][0].as_py())
    at = batch["path"].buffers()[1].address - whole.address
    offsets = np.frombuffer(content, np.int32, len(batch) + 1, at)
    beyond = (offsets + 2**30).tobytes()  # the lengths of the strings stay as they are
    path.write_bytes(
        {
            "empty": b"",
            "cut short": content[: len(content) // 2],
            "no footer": content[:-20],
            "without its last batch": without_last_batch(content),
            "without its metadata": content.replace(b"rows", b"rose"),
            "first image": content[:first] + bytes([content[first] ^ 1]) + content[first + 1 :],
            "a path": content.replace(b"a/2.jpg", b"a/z.jpg"),
            "offsets": content[:at] + beyond + content[at + len(beyond) :],
            "foreign": b"something else",
        }[how]
    )


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "cut short",
        "no footer",
        "without its last batch",
        "without its metadata",
        "first image",
        "a path",
        "offsets",
        "foreign",
    ],
)
def test_damaged_file_is_built_anew_with_a_warning(how: str, case: Case, caplog: pytest.LogCaptureFixture) -> None:
    path = case.open().path
    content = path.read_bytes()
    damage(path, how)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(case.images(), case.expected())
    assert "is damaged" in caplog.text
    assert path.read_bytes() == content
    assert case.builds.number == 2


def test_cache_of_something_else_under_the_name_is_built_anew(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    path = case.open().path
    shutil.copyfile(case.open(paths=case.paths[::-1]).path, path)
    assert torch.equal(case.images(), case.expected())
    assert "it belongs to something else" in caplog.text


def test_verify_names_the_damaged_images(case: Case) -> None:
    path = case.open().path
    content = bytearray(path.read_bytes())
    for row in (5, 6):  # neither the first nor the last, so that opening does not see it
        image = pa.ipc.open_file(bytes(content)).read_all()["image"][row].as_py()
        content[content.index(image) + SIZE] ^= 1
    assert verify(path) == []
    path.write_bytes(content)
    assert verify(path) == case.paths[5:7]
    path.write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"is damaged .*: delete it"):
        verify(path)


def test_no_flipped_byte_gives_other_images_unnoticed(case: Case, tmp_path: Path) -> None:
    file = case.open()
    content, rows, expected = file.path.read_bytes(), list(range(NUMBER)), case.expected()
    copy = tmp_path / "flipped.arrow"
    for place in range(0, len(content), 29):
        copy.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            flipped = CacheFile(copy)
        except DamagedCacheError:
            continue
        if flipped.metadata == file.metadata and flipped.has_paths(case.paths) and not flipped.damaged():
            images = np.empty((NUMBER, SIZE, SIZE, 3), np.uint8)
            flipped.copy_rows(rows, images)
            assert torch.equal(torch.from_numpy(images).permute(0, 3, 1, 2), expected)


def test_those_who_read_are_not_disturbed_by_a_rebuild(case: Case) -> None:
    images = CachedImages(case.open())
    case.files()[0].unlink()
    case.open()
    assert case.builds.number == 2
    assert torch.equal(images[torch.arange(NUMBER)], case.expected())


def test_list_of_the_caches(case: Case) -> None:
    assert cached_files(case.folder) == []
    truncate(case.root / case.paths[3])
    caches = [case.open(size=8, corrupt="skip").path, case.open(corrupt="skip").path]
    assert sorted(cached_files(case.folder)) == sorted(
        (path, "cub200", size, NUMBER - 1, path.stat().st_size, None, "lanczos")
        for path, size in zip(caches, (8, 16), strict=True)
    )
    caches[0].write_bytes(b"damaged")
    assert (caches[0], "cub200", 8, 0, 7, "damaged", "lanczos") in cached_files(case.folder)


def test_a_cache_that_vanishes_or_may_not_be_read_says_so(case: Case) -> None:
    intact = case.open().path
    gone, loop = (intact.with_name(f"sop-{size}px-01.arrow") for size in (8, 16))
    gone.symlink_to("nowhere")  # as a file that is deleted after its name was seen
    loop.symlink_to(loop)
    assert cached_files(case.folder)[1:] == [
        (loop, "sop", 16, 0, 0, "unreadable (too many levels of symbolic links)", "lanczos"),
        (gone, "sop", 8, 0, 0, "unreadable (no such file or directory)", "lanczos"),
    ]
    with pytest.raises(UserError, match=r"sop-8px-01.arrow is unreadable \(no such file or directory\): see who may"):
        verify(gone)


def test_what_is_not_named_like_a_cache_is_not_listed(case: Case) -> None:
    cache = case.open().path
    (cache.parent / "mine.arrow").write_bytes(b"")
    (cache.parent / "cub200-8px-0123.arrow").mkdir()
    assert [found.path for found in cached_files(case.folder)] == [cache]


# ---- builds that do not end well


def test_the_size_is_told_with_the_progress(case: Case) -> None:
    told: list[str] = []
    path = case.open(lambda what, _done, _total: told.append(what)).path
    (size,) = {what for what in told if what.startswith("decoding images (cache of ")}
    estimate = float(size.removeprefix("decoding images (cache of ").removesuffix(" kB)")) * 1000
    assert estimate == pytest.approx(NUMBER * SIZE * SIZE * 3, rel=0.3)
    assert path.stat().st_size == pytest.approx(NUMBER * SIZE * SIZE * 3, rel=0.6)  # Arrow's own, with so few images


def test_too_little_space_is_said_before_anything_is_read(case: Case) -> None:
    def no_calls(what: str, _done: int, _total: int) -> None:
        raise AssertionError(what)

    with pytest.raises(UserError, match=r"data.cache: .* at 400000 px need 5,280 GB"):
        case.open(no_calls, size=400_000)
    assert case.files("*") == []


def test_a_cache_of_files_that_were_moved_needs_no_space(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.open()
    shutil.copytree(case.root, tmp_path / "copy", copy_function=shutil.copyfile)  # so that they have to be read
    usage: Any = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    assert torch.equal(case.images(root=tmp_path / "copy"), case.expected())
    with pytest.raises(UserError, match="has 0 bytes free"):
        case.open(size=8)
    assert case.builds.number == 1


def test_a_cache_that_was_deleted_needs_space_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    path = case.open().path
    usage: Any = shutil.disk_usage(case.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert case.find() is not None
    path.unlink()
    with pytest.raises(UserError, match=r"data\.cache: the images of cub200 at 16 px need .* has 0 bytes free"):
        case.find()
    with locked(path):  # by another process that makes it
        assert case.find() is None


def test_too_little_space_is_said_before_anything_is_decoded(case: Case) -> None:
    case.open()  # the content is known
    size = 400_000  # 480 GB an image
    assert size**2 * 3 * NUMBER > shutil.disk_usage(case.folder).free
    with pytest.raises(UserError, match=r"data.cache: .* at 400000 px need 5,280 GB, and .* has .* GB free; set"):
        case.open(size=size)
    assert case.builds.number == 1


def test_full_disk_is_said_and_nothing_is_left(case: Case) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # the second batch does not fit
    try:
        with pytest.raises(UserError, match=r"data.cache: .* is full \(File too large\); set the environment variable"):
            case.open()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert case.left_nothing()


def test_folder_that_cannot_be_written_to(case: Case) -> None:
    (case.folder / "images").write_text("a file, so that not even root can make a folder of this name")
    with pytest.raises(UserError, match=r"data.cache: .* cannot be used \(File exists\)"):
        case.open()


def test_cache_that_the_system_cannot_open_is_not_taken_for_damaged(case: Case) -> None:
    path = case.open().path
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"data.cache: .* cannot be used \(Is a directory\)"):
        case.open()
    assert case.files() == [path]


def test_file_that_vanishes_during_the_build(case: Case) -> None:
    def remove_last(what: str, _done: int, _total: int) -> None:
        if what.startswith("decoding images"):
            (case.root / case.paths[-1]).unlink(missing_ok=True)

    with pytest.raises(UserError, match=r"data.root: the system could not read .*/a/10.jpg \(no such file or direct"):
        case.open(progress=remove_last, corrupt="skip")
    assert case.left_nothing()


def test_interrupt_ends_a_build_at_once_and_leaves_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_map, "_REPORT_EVERY_S", 0)
    before = threading.active_count()

    def interrupt(what: str, done: int, _total: int) -> None:
        if what.startswith("decoding images") and done == BATCH_ROWS + 1:
            assert case.files("*.tmp")
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        case.open(progress=interrupt)
    assert case.left_nothing()
    assert threading.active_count() == before
    assert torch.equal(case.images(), case.expected())


def test_killed_build_leaves_no_cache_and_the_next_cleans_up(case: Case, paused_build: subprocess.Popen[str]) -> None:
    (part,) = case.files("*.tmp")
    assert part.stat().st_size > BATCH_ROWS * SIZE * SIZE * 3
    os.kill(paused_build.pid, signal.SIGKILL)
    assert paused_build.wait() == -signal.SIGKILL
    assert (case.files(), case.files("*.tmp")) == ([], [part])
    assert abandoned_sizes(case.folder / "images") == [(part, part.stat().st_size)]
    assert torch.equal(case.images(), case.expected())
    assert case.files("*.tmp") == []


def test_of_two_processes_one_builds(case: Case, paused_build: subprocess.Popen[str]) -> None:
    opened: list[torch.Tensor] = []
    waiting = threading.Thread(target=lambda: opened.append(case.images()))
    waiting.start()
    waiting.join(timeout=0.3)
    assert waiting.is_alive()
    assert len(case.files("*.tmp")) == 1
    paused_build.communicate("go on\n")
    waiting.join()
    assert torch.equal(opened[0], case.expected())
    assert case.builds.number == 0


def test_what_another_process_writes_is_not_cleaned_up(case: Case) -> None:
    (case.folder / "images").mkdir()
    dead, alive = (case.folder / "images" / f"{name}.arrow.x7_q.tmp" for name in ("sop-256px-1", "sop-256px-2"))
    dead.touch()
    alive.touch()
    with locked(case.folder / "images" / "sop-256px-2.arrow"):
        assert abandoned_sizes(case.folder / "images") == [(dead, 0)]
        case.open()
    assert case.files("*.tmp") == [alive]
