"""Unpack archives. An archive is unpacked as a whole or not at all, and nothing is written outside of its folder."""

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from mdr_tune.util.disk_space import check_free
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress

_DAMAGED = (tarfile.ReadError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)
_REPORT_EVERY = 100  # members
_PIECE = 1 << 20  # bytes


def unpack(archive: Path, keep: str, progress: Progress) -> Path:
    """Unpack `archive` beside itself, and return the path of its member `keep`. Meanwhile, `progress` is called.

    The archive is unpacked into a hidden folder beside it. At the end, `keep` is moved to the archive's folder, and the
    rest is deleted. So there is never an incomplete `keep`. If a process is killed, the next call removes the hidden
    folder. Two processes must not unpack the same archive at the same time.

    Args:
        archive: tar file with any compression, or zip file.
        keep: name of a file or folder at the top of the archive. Beside the archive, no other file or folder may have
            this name, unless it is an empty folder.
        progress: called with the number of bytes of a tar, or of members of a zip, that have been unpacked so far.

    Raises:
        UserError: the archive is damaged, lacks `keep` or would write outside of its folder; the disk is full or fails.
    """
    work = archive.with_name(f".{archive.name}.unpacking")
    target = archive.with_name(keep)
    try:
        _remove(work)
        check_free(archive.parent, _unpacked_bytes(archive), f"to unpack {archive.name}")
        work.mkdir()
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, work, progress)
        else:
            _extract_tar(archive, work, progress)
        if not (work / keep).exists():
            there = sorted(path.name for path in work.iterdir())[:5]
            raise UserError(f"{archive} holds no {keep}, but {', '.join(there) or 'nothing'}: it is another archive")
        os.replace(work / keep, target)
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile goes on to list every kind of archive it tried
        raise UserError(
            f"cannot unpack {archive}: it is damaged or cut short ({reason or type(error).__name__}). "
            "Delete it and get it anew"
        ) from None
    except OSError as error:
        raise UserError(f"cannot unpack {archive}: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _extract_tar(archive: Path, work: Path, progress: Progress) -> None:
    if not hasattr(tarfile, "data_filter"):  # Python 3.11.0 to 3.11.3
        raise UserError(f"this Python cannot unpack {archive} safely: use 3.11.4 or newer, or unpack it beside itself")
    size_bytes = archive.stat().st_size
    with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
        for number, member in enumerate(tar):
            try:
                tar.extract(member, work, filter="data")
            except tarfile.FilterError as error:
                raise UserError(
                    f"{archive} is not safe to unpack: {error}. Nothing of it was kept; get it anew, from its publisher"
                ) from None
            if number % _REPORT_EVERY == 0:
                progress(f"unpacking {archive.name}", file.tell(), size_bytes)
        # tarfile takes a damaged header for the end. Reading on to the real end checks the compressor's checksum.
        assert tar.fileobj is not None
        while tar.fileobj.read(_PIECE):
            pass
    progress(f"unpacking {archive.name}", size_bytes, size_bytes)


def _extract_zip(archive: Path, work: Path, progress: Progress) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        for member in members:
            if (problem := _unsafe(member)) is not None:
                raise UserError(
                    f"{archive} is not safe to unpack: {member.filename!r} {problem}. "
                    "Nothing of it was kept; get it anew, from its publisher"
                )
            if member.flag_bits & 0x1:
                raise UserError(
                    f"{archive} is protected by a password: unpack it yourself, beside itself, with the password that "
                    "its publisher gives out"
                )
        for number, member in enumerate(members):
            try:
                packed.extract(member, work)
            except NotImplementedError as error:
                raise UserError(f"cannot unpack {archive}: {error}. Unpack it yourself, beside itself") from None
            if number % _REPORT_EVERY == 0:
                progress(f"unpacking {archive.name}", number, len(members))
    progress(f"unpacking {archive.name}", len(members), len(members))


def _unsafe(member: zipfile.ZipInfo) -> str | None:
    """Return the reason why `member` of a zip must not be unpacked, such as "is a link"; None if it is safe.

    This is checked because zipfile would silently change the path of an unsafe member.
    """
    name = member.filename.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or name[1:2] == ":":  # a drive of Windows
        return "has an absolute path"
    if ".." in path.parts:
        return "points outside of it"
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made on Unix
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if kind == stat.S_IFLNK else "is a device"
    return None


def _unpacked_bytes(archive: Path) -> int:
    """Return the size of the content of `archive` in bytes: exact for a zip file, a lower bound for other archives."""
    size = archive.stat().st_size
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            return sum(member.file_size for member in packed.infolist())
    with archive.open("rb") as file:
        if file.read(2) != b"\x1f\x8b" or size < 4:
            return size
        file.seek(-4, os.SEEK_END)  # gzip ends with the size of its content, modulo 4 GiB (RFC 1952)
        return max(size, int.from_bytes(file.read(4), "little"))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
