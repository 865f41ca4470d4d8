import os
import shutil
from pathlib import Path

import pytest

from mdr_tune.data.images.fingerprint import content_key, file_hashes, file_states
from mdr_tune.util.errors import UserError

PATHS = ["a/1.jpg", "a/2.jpg", "b/3.jpg"]


class Calls:
    """A progress that counts how often files are read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        assert what == "reading image files"
        self.reads += done == total


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"content of {path}")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_state_of_each_file_in_order(root: Path) -> None:
    many = PATHS * 1000  # several tasks
    found = file_states(root, many)
    stats = [(root / path).stat() for path in PATHS]
    assert found == [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats] * 1000


def test_missing_files_are_counted_and_some_are_named(root: Path) -> None:
    missing = [f"c/{number}.jpg" for number in range(2000)]
    with pytest.raises(UserError) as caught:
        file_states(root, [*PATHS, *missing])
    assert str(caught.value).startswith(
        f"data.root: 2,000 of 2,003 images are missing in {root}, such as c/0.jpg, c/1.jpg, c/2.jpg; "
    )
    with pytest.raises(UserError, match=r"data.root: 1 of 4 images is missing in .*, such as d.jpg;"):
        file_states(root, [*PATHS, "d.jpg"])


def test_a_link_that_leads_nowhere_says_where_it_leads(root: Path) -> None:
    (root / "gone.jpg").symlink_to("/nas/gone.jpg")
    with pytest.raises(UserError, match=r"such as gone.jpg \(a link to /nas/gone.jpg, which is not there: copy what"):
        file_states(root, [*PATHS, "gone.jpg"])


def test_what_is_there_but_no_file_says_why(root: Path) -> None:
    (root / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(UserError, match=r"such as b \(not a file\), loop.jpg \(too many levels of symbolic links\);"):
        file_states(root, [*PATHS, "b", "loop.jpg"])


def test_root_that_is_no_folder(root: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=f"data.root: there is no folder {root}/nowhere"):
        content_key(root / "nowhere", PATHS, folder, Calls())


def test_key_belongs_to_paths_and_content(root: Path, folder: Path, tmp_path: Path) -> None:
    def key_of(paths: list[str], where: Path = root) -> str:
        return content_key(where, paths, folder, Calls())

    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)  # other times
    key = key_of(PATHS)
    assert key_of(PATHS, tmp_path / "copy") == key
    (tmp_path / "copy/b/3.jpg").rename(tmp_path / "copy/b/4.jpg")
    others = [key_of(PATHS[::-1]), key_of(PATHS[:2]), key_of([*PATHS[:2], "b/4.jpg"], tmp_path / "copy")]
    assert len({key, *others}) == 4


def test_files_are_read_once(root: Path, folder: Path) -> None:
    calls = Calls()
    keys = {content_key(root, PATHS, folder, calls) for _ in range(3)}
    assert len(keys) == 1
    assert calls.reads == 1


def test_touched_files_are_read_again_and_keep_their_key(root: Path, folder: Path) -> None:
    calls = Calls()
    key = content_key(root, PATHS, folder, calls)
    os.utime(root / PATHS[1], (1, 1))
    assert content_key(root, PATHS, folder, calls) == key
    assert calls.reads == 2


def test_changed_file_is_noticed_though_size_and_time_are_the_same(root: Path, folder: Path) -> None:
    key = content_key(root, PATHS, folder, Calls())
    changed = root / PATHS[1]
    before = changed.stat()
    changed.write_text(changed.read_text().upper())
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (changed.stat().st_size, changed.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert content_key(root, PATHS, folder, Calls()) != key


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_damaged_memory_is_made_anew(content: bytes, root: Path, folder: Path) -> None:
    calls = Calls()
    key = content_key(root, PATHS, folder, calls)
    (memory,) = folder.glob("*.json")
    memory.write_bytes(content)
    assert [content_key(root, PATHS, folder, calls) for _ in range(2)] == [key, key]
    assert calls.reads == 2


def test_unreadable_file_is_named_and_nothing_is_remembered(root: Path, folder: Path) -> None:
    unreadable = "/proc/self/mem"  # has no first byte
    with pytest.raises(UserError, match=r"the system cannot read 1 of 4 files in .*, such as /proc/self/mem \(input/o"):
        content_key(root, [*PATHS, unreadable], folder, Calls())
    assert not list(folder.glob("*.json"))


@pytest.mark.parametrize("written", ["A/1.JPG", "a/1.jpg\u200b", "a\u00a0/1.jpg"])
def test_a_missing_file_that_is_there_in_other_letters_is_named(root: Path, written: str) -> None:
    (root / "b" / "3.jpg").rename(root / "b" / "4.jpg")
    with pytest.raises(
        UserError, match=r"2 of 3 images are missing in .*, such as .* \(there is 'a/1\.jpg': write it so\), b/3\.jpg;"
    ):
        file_states(root, [written, *PATHS[1:]])


def test_hashes_of_the_middle_and_of_all(root: Path) -> None:
    for number, content in enumerate([b"abcdef", b"xbcdez", b"abcxef"]):
        (root / PATHS[number]).write_bytes(content)
    middle, whole = ([*file_hashes(root, PATHS, num_bytes)] for num_bytes in (4, None))
    assert [len(set(middle)), middle[0] == middle[1], len(set(whole))] == [2, True, 3]
    assert [*file_hashes(root, PATHS, 7)] == whole  # of shorter files it is all
    assert [*file_hashes(root, [])] == []
