import hashlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch

from mdr_tune.data.dataset import Images
from mdr_tune.data.images.checking import decoder_versions
from mdr_tune.data.images.fingerprint import content_key
from mdr_tune.data.images.image_cache import CacheFile, cached_files
from mdr_tune.data.images.image_files import find_images, open_images
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress, no_progress
from tests.data.images.pictures import expected_images, truncate, write_pictures

NUMBER, SIZE = 9, 16


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "data", NUMBER)
    return tmp_path / "data"


@pytest.fixture
def paths(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def open_all(root: Path, paths: list[str], folder: Path, cache: bool, corrupt: str = "refuse") -> Images:
    images, rows = open_images("own", root, paths, folder, no_progress, resize=SIZE, cache=cache, corrupt=corrupt)
    assert (rows.tolist(), rows.dtype.name) == (list(range(len(paths))), "int64")
    return images


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("indices", [[4], [8, 0, 3, 0, 0], list(range(NUMBER)), [-1], []])
def test_any_indices_give_the_pictures_in_their_order(
    cache: bool, indices: list[int], root: Path, paths: list[str], folder: Path
) -> None:
    images = open_all(root, paths, folder, cache)
    assert (images.shape, len(images)) == ((NUMBER, 3, SIZE, SIZE), NUMBER)
    rows = torch.tensor(indices, dtype=torch.int64)
    read = images[rows]
    assert torch.equal(read, expected_images(root, paths, SIZE)[rows])
    assert (read.dtype, read.shape) == (torch.uint8, (len(indices), 3, SIZE, SIZE))
    assert read.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("cache", [True, False])
def test_each_filter_has_pixels_of_its_own(cache: bool, root: Path, paths: list[str], folder: Path) -> None:
    """What was kept by older versions, which had one filter, is found."""
    kept = {}
    for number, name in enumerate(("lanczos", "bicubic", "bilinear"), 1):
        how: Any = {"resize": SIZE, "cache": cache, "corrupt": "refuse", "interpolation": name}
        assert find_images("own", root, paths, folder, **how) is None
        images, _ = open_images("own", root, paths, folder, no_progress, **how)
        found = find_images("own", root, paths, folder, **how)
        assert found is not None
        expected = expected_images(root, paths, SIZE, name)
        for read in (images, found[0]):
            assert torch.equal(read[torch.arange(NUMBER)], expected)
        kept[name] = images.content
        made = sorted((folder / "images").glob("*px-*.arrow" if cache else "checked-*.json"))
        assert len(made) == number
    if cache:
        ways = {one.interpolation: one for one in cached_files(folder)}
        assert len(set(kept.values())) == len(ways) == 3
        metadata = CacheFile(ways["lanczos"].path).metadata
        assert set(metadata.schema().metadata) == {b"format", b"name", b"size_px", b"rows", b"key"}
        content = content_key(root, paths, folder / "images", no_progress)
        older = repr(("1", content, SIZE, tuple(decoder_versions())))
        assert metadata.key == hashlib.blake2b(older.encode(), digest_size=10).hexdigest()
    else:
        assert (folder / "images" / f"checked-{kept['lanczos']}-{SIZE}px.json").exists()


@pytest.mark.parametrize("threads", [1, 3])
def test_images_are_decoded_by_no_more_threads_than_this_process_may_start(
    threads: int, root: Path, paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, used = open_all(root, paths, folder, cache=False), set()

    def decode(path: str, size: int, interpolation: str) -> np.ndarray:
        used.add(threading.get_ident())
        time.sleep(0.05)  # so that the others come to their turn
        return np.zeros((size, size, 3), np.uint8)

    monkeypatch.setattr("mdr_tune.data.images.image_files.decode", decode)
    monkeypatch.setattr("mdr_tune.data.images.thread_map.threads_to_start", lambda: threads)
    images[torch.arange(NUMBER)]
    assert len(used) == threads


@pytest.mark.parametrize("cache", [True, False])
def test_what_is_read_is_the_callers_own(cache: bool, root: Path, paths: list[str], folder: Path) -> None:
    images = open_all(root, paths, folder, cache)
    first = torch.tensor([0, 0])
    read = images[first]
    read[0].fill_(7)
    assert not torch.equal(read[0], read[1])
    assert torch.equal(images[first], expected_images(root, paths, SIZE)[first])


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("index", [NUMBER, -NUMBER - 1])
def test_index_out_of_range_is_an_error(cache: bool, index: int, root: Path, paths: list[str], folder: Path) -> None:
    with pytest.raises(IndexError):
        open_all(root, paths, folder, cache)[torch.tensor([index])]


@pytest.mark.parametrize("cache", [True, False])
def test_absolute_paths_need_no_root(cache: bool, root: Path, paths: list[str], folder: Path) -> None:
    absolute = [str(root / path) for path in paths]
    images = open_all(folder.parent, absolute, folder, cache)
    assert torch.equal(images[torch.arange(NUMBER)], expected_images(root, paths, SIZE))


@pytest.mark.parametrize("cache", [True, False])
def test_missing_files_are_found_before_anything_is_read(
    cache: bool, root: Path, paths: list[str], folder: Path
) -> None:
    def no_calls(what: str, done: int, total: int) -> None:
        raise AssertionError(what)

    (root / paths[2]).unlink()
    with pytest.raises(UserError, match=f"data.root: 1 of 9 images is missing in {root}, such as {paths[2]};"):
        open_images("own", root, paths, folder, no_calls, resize=SIZE, cache=cache, corrupt="refuse")


def test_rows_say_which_files_the_images_are(root: Path, paths: list[str], folder: Path) -> None:
    expected = expected_images(root, paths, SIZE)
    truncate(root / paths[4])
    images, rows = open_images("own", root, paths, folder, no_progress, resize=SIZE, cache=True, corrupt="skip")
    assert rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(images[torch.arange(8)], expected[rows])


class Told:
    """A progress that counts how often files are read, and how often they are decoded."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        if done == total:
            self.ended.append(what)


def open_uncached(root: Path, paths: list[str], folder: Path, progress: Progress) -> Images:
    images, _ = open_images("own", root, paths, folder, progress, resize=SIZE, cache=False, corrupt="refuse")
    return images


def test_without_a_cache_images_are_checked_once_and_a_few_bytes_are_kept(
    root: Path, paths: list[str], folder: Path
) -> None:
    told = Told()
    for _ in range(2):
        open_uncached(root, paths, folder, told)[torch.arange(NUMBER)]
    assert told.ended == ["reading image files", "checking images"]
    kept = [path for path in (folder / "images").iterdir() if path.suffix != ".lock"]
    assert sorted(path.name.partition("-")[0] for path in kept) == ["checked", "content"]
    assert sum(path.stat().st_size for path in kept) < 1000


def test_another_content_or_another_decoder_is_checked_anew(
    root: Path, paths: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    open_uncached(root, paths, folder, told)
    shutil.copyfile(root / paths[0], root / paths[1])
    open_uncached(root, paths, folder, told)
    assert told.ended.count("checking images") == 2
    monkeypatch.setattr(PIL, "__version__", "0")
    open_uncached(root, paths, folder, told)
    open_uncached(root, paths, folder, told)
    assert told.ended.count("checking images") == 3


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_note_of_a_check_is_made_anew(content: bytes, root: Path, paths: list[str], folder: Path) -> None:
    told = Told()
    open_uncached(root, paths, folder, told)
    (note,) = (folder / "images").glob("checked-*.json")
    note.write_bytes(content)
    open_uncached(root, paths, folder, told)
    open_uncached(root, paths, folder, told)
    assert told.ended.count("checking images") == 2


def test_without_a_cache_corrupt_images_are_all_named_at_each_start_as_with_it(
    root: Path, paths: list[str], folder: Path
) -> None:
    truncate(root / paths[4])
    (root / paths[7]).write_bytes(b"")
    messages = []
    for cache in (True, False, False):
        with pytest.raises(UserError) as caught:
            open_all(root, paths, folder, cache)
        messages.append(str(caught.value))
    assert messages[0].startswith(f"data.corrupt: 2 of 9 images cannot be decoded: {paths[4]} (truncated), {paths[7]} ")
    assert messages[1:] == [f"{messages[0]}, which needs data.cache: true"] * 2


def test_without_a_cache_a_folder_that_cannot_be_written_to_is_named(
    root: Path, paths: list[str], folder: Path
) -> None:
    folder.write_text("a file, so that not even root can make a folder in it")
    with pytest.raises(UserError, match=r"data.cache: .*/cache/images cannot be used \(Not a directory\), and even"):
        open_all(root, paths, folder, cache=False)


def test_a_file_that_vanishes_during_the_check_is_named(root: Path, paths: list[str], folder: Path) -> None:
    def remove_last(what: str, _done: int, _total: int) -> None:
        if what == "checking images":
            (root / paths[-1]).unlink(missing_ok=True)

    with pytest.raises(UserError, match=rf"data.root: the system could not read .*{paths[-1]} \(no such file"):
        open_uncached(root, paths, folder, remove_last)
    assert not list((folder / "images").glob("checked-*.json"))


def test_without_a_cache_an_image_that_is_broken_later_is_named_when_it_is_read(
    root: Path, paths: list[str], folder: Path
) -> None:
    images = open_all(root, paths, folder, cache=False)
    truncate(root / paths[4])
    images[torch.tensor([0, 1])]
    with pytest.raises(UserError, match=rf"data.corrupt: cannot decode .*{paths[4]} \(truncated\); mend or delete it"):
        images[torch.arange(NUMBER)]


def test_without_a_cache_a_file_that_vanishes_is_named(root: Path, paths: list[str], folder: Path) -> None:
    images = open_all(root, paths, folder, cache=False)
    (root / paths[4]).unlink()
    with pytest.raises(UserError, match=rf"data.root: the system could not read .*{paths[4]} \(no such file"):
        images[torch.tensor([4])]


def test_skipping_needs_the_cache(root: Path, paths: list[str], folder: Path) -> None:
    with pytest.raises(UserError, match=r"data.corrupt: skip needs data.cache: true"):
        open_images("own", root, paths, folder, no_progress, resize=SIZE, cache=False, corrupt="skip")


@pytest.mark.parametrize("cache", [True, False])
def test_what_was_decoded_is_found(cache: bool, root: Path, paths: list[str], folder: Path) -> None:
    def find() -> object:
        return find_images("own", root, paths, folder, resize=SIZE, cache=cache, corrupt="refuse")

    assert find() is None
    opened = open_all(root, paths, folder, cache)
    before = sorted(folder.rglob("*"))
    found = find_images("own", root, paths, folder, resize=SIZE, cache=cache, corrupt="refuse")
    assert found is not None
    images, rows = found
    assert rows.tolist() == list(range(len(paths)))
    assert torch.equal(images[torch.arange(NUMBER)], opened[torch.arange(NUMBER)])
    assert images.content == opened.content  # type: ignore[attr-defined]
    assert sorted(folder.rglob("*")) == before
    shutil.copyfile(root / paths[0], root / paths[1])
    assert find() is None
