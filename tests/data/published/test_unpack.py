import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.data.published.unpack import unpack
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.waiting import HANG_S

FILES = {f"data/class_{number % 7}/{number}.txt": f"image {number} ".encode() * number for number in range(250)}
OTHERS = {"attributes.txt": b"not kept", "__MACOSX/data/._0.txt": b"not kept"}


def tar_bytes(files: dict[str, bytes], mode: str = "w:gz", extra: list[tarfile.TarInfo] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra or []:
            tar.addfile(member)
    return buffer.getvalue()


def zip_bytes(files: dict[str, bytes], extra: list[zipfile.ZipInfo] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
        for member in extra or []:
            packed.writestr(member, b"/etc/passwd")
    return buffer.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "x.tgz": tar_bytes,
    "x.tar": lambda files: tar_bytes(files, "w"),
    "x.tar.xz": lambda files: tar_bytes(files, "w:xz"),
    "x.zip": zip_bytes,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_is_kept_is_whole_and_nothing_else_is_left(name: str, tmp_path: Path) -> None:
    archive = written(tmp_path / name, ARCHIVES[name]({**FILES, **OTHERS}))
    told: list[tuple[str, int, int]] = []
    assert unpack(archive, "data", lambda *report: told.append(report)) == tmp_path / "data"
    assert tree(tmp_path / "data") == {path.removeprefix("data/"): content for path, content in FILES.items()}
    assert {path.name for path in tmp_path.iterdir()} == {name, "data"}
    assert {what for what, _, _ in told} == {f"unpacking {name}"}
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert done[-1] == told[-1][2] > 0


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def device(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.CHRTYPE
    return member


def zip_member(name: str, kind: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o777) << 16
    return member


UNSAFE = {
    "tar, above": ("x.tgz", tar_bytes({**FILES, "data/../../evil.txt": b""}), "evil.txt"),
    "tar, link above": ("x.tgz", tar_bytes(FILES, extra=[link("data/evil", "../../elsewhere")]), "data/evil"),
    "tar, absolute link": ("x.tgz", tar_bytes(FILES, extra=[link("data/evil", "/etc/passwd")]), "data/evil"),
    "tar, device": ("x.tgz", tar_bytes(FILES, extra=[device("data/evil")]), "data/evil"),
    "zip, above": ("x.zip", zip_bytes({**FILES, "data/../../evil.txt": b""}), "'data/../../evil.txt' points outside"),
    "zip, above, as Windows writes it": ("x.zip", zip_bytes({"data\\..\\..\\evil": b""}), "points outside"),
    "zip, absolute": ("x.zip", zip_bytes({**FILES, "/tmp/evil.txt": b""}), "'/tmp/evil.txt' has an absolute path"),
    "zip, a drive": ("x.zip", zip_bytes({**FILES, "C:/evil.txt": b""}), "'C:/evil.txt' has an absolute path"),
    "zip, link": ("x.zip", zip_bytes(FILES, [zip_member("data/evil", stat.S_IFLNK)]), "'data/evil' is a link"),
    "zip, device": ("x.zip", zip_bytes(FILES, [zip_member("data/evil", stat.S_IFCHR)]), "'data/evil' is a device"),
}


@pytest.mark.parametrize(("name", "content", "named"), UNSAFE.values(), ids=list(UNSAFE))
def test_members_that_point_elsewhere_are_refused(name: str, content: bytes, named: str, tmp_path: Path) -> None:
    archive = written(tmp_path / "inner" / name, content)
    with pytest.raises(UserError) as caught:
        unpack(archive, "data", no_progress)
    assert str(caught.value).startswith(f"{archive} is not safe to unpack: ")
    assert named in str(caught.value)
    assert tree(tmp_path) == {f"inner/{name}": content}
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_an_absolute_path_in_a_tar_stays_inside(tmp_path: Path) -> None:
    archive = written(tmp_path / "x.tar", tar_bytes({f"{tmp_path}/evil": b"", "data/a": b"1"}, "w"))
    unpack(archive, "data", no_progress)
    assert set(tree(tmp_path)) == {"x.tar", "data/a"}


TGZ, ZIP = tar_bytes(FILES), zip_bytes(FILES)
DAMAGED = {
    "empty": b"",
    "text": b"<html>log in first</html>" * 100,
    "tgz, cut": TGZ[: len(TGZ) // 2],
    "tgz, last bytes": TGZ[:-4],
    "tgz, flipped": TGZ[:5000] + bytes(100) + TGZ[5100:],
    "zip, cut": ZIP[: len(ZIP) // 2],
    "zip, flipped": ZIP[:5000] + bytes(100) + ZIP[5100:],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=list(DAMAGED))
def test_a_damaged_archive_leaves_nothing(content: bytes, tmp_path: Path) -> None:
    archive = written(tmp_path / "x.archive", content)
    with pytest.raises(UserError) as caught:
        unpack(archive, "data", no_progress)
    assert str(caught.value).startswith(f"cannot unpack {archive}: it is damaged or cut short (")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.archive"]


def test_another_archive_says_what_it_holds(tmp_path: Path) -> None:
    archive = written(tmp_path / "x.zip", zip_bytes({"other/a": b"", "b": b""}))
    with pytest.raises(UserError, match=r"x.zip holds no data, but b, other: it is another archive"):
        unpack(archive, "data", no_progress)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_password_is_said_to_be_needed(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"data/a": b"secret"}))
    content[6] |= 1  # the flag, in the member's header and in the directory at the end
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive = written(tmp_path / "x.zip", bytes(content))
    with pytest.raises(UserError, match=r"x.zip is protected by a password"):
        unpack(archive, "data", no_progress)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


@pytest.mark.parametrize("name", ["x.tgz", "x.zip"])
def test_a_full_disk_is_known_before(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"data/zeros": bytes(5_000_000)}
    archive = written(tmp_path / name, ARCHIVES[name](files))
    assert archive.stat().st_size < 10_000
    usage: Any = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4_900_000))
    with pytest.raises(
        UserError, match=rf"not enough disk space to unpack {name}: 5(.01)? MB are needed and 4.9 MB are free in "
    ):
        unpack(archive, "data", no_progress)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5_100_000))
    unpack(archive, "data", no_progress)
    assert (tmp_path / "data" / "zeros").stat().st_size == 5_000_000


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    archive = written(tmp_path / "x.zip", zip_bytes({"data/" + "n" * 300: b""}))
    with pytest.raises(UserError, match=r"cannot unpack .*x.zip: .*File name too long"):
        unpack(archive, "data", no_progress)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_killed_unpack_leaves_nothing_that_is_taken_for_the_data(tmp_path: Path) -> None:
    archive = written(tmp_path / "x.tgz", TGZ)
    script = """
        import sys, time
        from pathlib import Path
        from mdr_tune.data.published.unpack import unpack
        def stop_in_the_middle(what, done, total):
            if Path(sys.argv[1]).with_name(".x.tgz.unpacking").joinpath("data/class_1/1.txt").exists():
                print("unpacking", flush=True)
                time.sleep(60)
        unpack(Path(sys.argv[1]), "data", stop_in_the_middle)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(archive)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "unpacking\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=HANG_S)
    assert {path.name for path in tmp_path.iterdir()} == {"x.tgz", ".x.tgz.unpacking"}
    (tmp_path / ".x.tgz.unpacking" / "data" / "stale").touch()
    unpack(archive, "data", no_progress)
    assert tree(tmp_path / "data") == {path.removeprefix("data/"): content for path, content in FILES.items()}
    assert {path.name for path in tmp_path.iterdir()} == {"x.tgz", "data"}
