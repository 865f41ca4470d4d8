from pathlib import Path

import pytest
import torch

from mdr_tune.data.dataset import Images
from mdr_tune.data.images.image_files import open_images
from mdr_tune.errors import UserError
from mdr_tune.progress import no_progress
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


def test_without_a_cache_nothing_is_written(root: Path, paths: list[str], folder: Path) -> None:
    open_all(root, paths, folder, cache=False)[torch.arange(NUMBER)]
    assert not folder.exists()


def test_without_a_cache_a_corrupt_image_is_named_when_it_is_read(root: Path, paths: list[str], folder: Path) -> None:
    truncate(root / paths[4])
    images = open_all(root, paths, folder, cache=False)
    images[torch.tensor([0, 1])]
    with pytest.raises(UserError, match=rf"data.corrupt: cannot decode .*{paths[4]} \(truncated\); mend or delete it"):
        images[torch.arange(NUMBER)]


def test_without_a_cache_a_file_that_vanishes_is_named(root: Path, paths: list[str], folder: Path) -> None:
    images = open_all(root, paths, folder, cache=False)
    (root / paths[4]).unlink()
    with pytest.raises(UserError, match=rf"data.root: the system could not read .*{paths[4]} \(no such file"):
        images[torch.tensor([4])]


def test_skipping_needs_the_cache(root: Path, paths: list[str], folder: Path) -> None:
    with pytest.raises(UserError, match=r"data.corrupt: skip needs data.cache: on"):
        open_images("own", root, paths, folder, no_progress, resize=SIZE, cache=False, corrupt="skip")
