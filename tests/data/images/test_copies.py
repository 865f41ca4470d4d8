import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdr_tune.data.images import copies
from mdr_tune.data.images.image_files import open_images
from mdr_tune.util.progress import no_progress
from tests.data.images.pictures import write_pictures


def found(root: Path, paths: list[str], folder: Path, cache: bool, corrupt: str = "refuse") -> list[int]:
    images, _ = open_images("own", root, paths, folder, no_progress, resize=16, cache=cache, corrupt=corrupt)  # type: ignore[arg-type]
    return images.first_copies().tolist()


@pytest.mark.parametrize("cache", [True, False])
def test_equal_pixels_are_found_in_whatever_file_they_are_at_each_start(tmp_path: Path, cache: bool) -> None:
    root = tmp_path / "data"
    paths = write_pictures(root, 7)
    assert found(root, paths, tmp_path / "cache", cache) == list(range(7))
    shutil.copyfile(root / paths[2], root / paths[5])
    with Image.open(root / paths[2]) as image:  # another file, the same pixels
        image.save(root / "a" / "other.png")
    paths.append("a/other.png")
    expected = [0, 1, 2, 3, 4, 2, 6, 2]
    assert [found(root, paths, tmp_path / "cache", cache) for _ in range(2)] == [expected] * 2


def test_images_that_are_left_out_do_not_count(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 6)
    (tmp_path / paths[0]).write_bytes(b"")
    shutil.copyfile(tmp_path / paths[2], tmp_path / paths[4])
    assert found(tmp_path, paths, tmp_path / "cache", True, corrupt="skip") == [0, 1, 2, 1, 4]  # of those that are left


def test_equal_checksums_alone_are_no_equal_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zlib, "crc32", lambda _: 7)
    paths = write_pictures(tmp_path, 5)
    shutil.copyfile(tmp_path / paths[0], tmp_path / paths[3])
    assert found(tmp_path, paths, tmp_path / "cache", True) == [0, 1, 2, 0, 4]


def test_the_first_of_equal_hashes() -> None:
    assert copies.first_with([b"a", b"b", b"a", b"c", b"b", b"a"]).tolist() == [0, 1, 0, 3, 1, 0]
    assert copies.first_with([]).dtype == np.int64
