"""Download large files.

Each attempt resumes where the last attempt ended. A file gets its name only when it is complete and checked.
"""

import hashlib
import http.client
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from mdr_tune.util.disk_space import check_free
from mdr_tune.util.progress import Progress, no_progress

_TIMEOUT_S = 30.0  # time limit for connecting, and for the wait for each further piece of the file
_WAITS_S = (1.0, 4.0, 15.0)  # before the next attempts, as long as none of them brings new bytes
_PIECE = 1 << 18  # bytes


class DownloadError(Exception):
    """A file could not be downloaded. The text gives the reason."""


class _CutShort(ConnectionError):  # noqa: N818 - it says what happened
    """The connection ended before the whole file had come."""


class Digest(NamedTuple):
    """The digest (hash) that the content of a file must have.

    Attributes:
        algorithm: `md5` or `sha256`. MD5 shows whether a file is damaged; it does not protect against a forged file.
        begins: the digest in hexadecimal, or only its first digits.
    """

    algorithm: Literal["md5", "sha256"]
    begins: str


def download(
    urls: Sequence[str], path: Path, digest: Digest, progress: Progress = no_progress, size_bytes: int | None = None
) -> None:
    """Download a file to `path`, whose folder must exist. The `urls` are tried in order until one gives the file.

    Until the file is complete, its bytes are in `<path>.part`. A later call resumes from there, even in another
    process. With FTP, and with servers that cannot send a part of a file, a later call starts from the beginning.

    Args:
        urls: URLs of the file (http, https or ftp).
        path: path at which the file is made.
        digest: digest that the content must have.
        progress: function that is called with words, the number of received bytes, and the total (0 if unknown).
        size_bytes: size of the file, in bytes; None if it is unknown.

    Raises:
        DownloadError: no URL gave the file; the message has the reason for each URL.
        UserError: the disk has no room for the file.
    """
    reasons = []
    for url in urls:
        try:
            _download_from(url, path, digest, progress, size_bytes)
            return
        except DownloadError as error:
            reasons.append(f"{url}: {error}" if len(urls) > 1 else str(error))
    raise DownloadError("; ".join(reasons))


def digest_of(path: Path, algorithm: Literal["md5", "sha256"], progress: Progress = no_progress) -> str:
    """Return the digest of the file at `path` by `algorithm`, in hexadecimal. `progress` is told the bytes read."""
    digest, done, size_bytes = hashlib.new(algorithm, usedforsecurity=False), 0, path.stat().st_size
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            progress(f"checking {path.name.removesuffix('.part')}", done, size_bytes)
    return digest.hexdigest()


def _download_from(url: str, path: Path, digest: Digest, progress: Progress, size_bytes: int | None) -> None:
    part = path.with_name(path.name + ".part")
    attempts_in_vain = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, path.name, progress, size_bytes)
            break
        except (OSError, http.client.HTTPException) as error:
            attempts_in_vain = 0 if _size(part) > before else attempts_in_vain + 1
            if not _may_pass(error):
                raise DownloadError(_reason(error)) from None
            if attempts_in_vain > len(_WAITS_S):
                raise DownloadError(f"{_reason(error)} ({attempts_in_vain} times in a row)") from None
            time.sleep(_WAITS_S[max(attempts_in_vain - 1, 0)])
    found = digest_of(part, digest.algorithm, progress)
    if not found.startswith(digest.begins):
        size = _size(part)
        part.unlink()  # resuming from it would end in the same way
        raise DownloadError(
            f"what came is damaged or another file: {digest.algorithm.upper()} {found} of {size:,} bytes, "
            f"expected {digest.begins}"
        )
    os.replace(part, path)


def _receive(url: str, part: Path, name: str, progress: Progress, size_bytes: int | None) -> None:
    """Download the bytes of `url` that are missing in the file `part`, or all bytes if the server cannot resume."""
    start = _size(part)
    if start and start == size_bytes:
        return  # an earlier attempt ended between the last byte and the check
    headers = {"User-Agent": "mdr-tune", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # the file has no more bytes than `part`: the digest will show whether `part` is right
        raise
    with response:
        if start and not _continues(response, start):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else size_bytes
        if total is not None:
            check_free(part.parent, total - start, f"to download {name}")
        with part.open("ab" if start else "wb") as file:
            done = start
            while piece := response.read(_PIECE):
                file.write(piece)
                done += len(piece)
                progress(f"downloading {name}", done, total or 0)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _CutShort(f"the connection ended after {done:,} of {total:,} bytes")


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    """Return whether `response` has the bytes of the file from byte `start` on. With FTP, it never does."""
    content_range = response.headers.get("Content-Range", "")
    return response.status == http.client.PARTIAL_CONTENT and content_range.startswith(f"bytes {start}-")


def _may_pass(error: Exception) -> bool:
    """Return whether `error` may be temporary, so that another attempt may succeed."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS) or error.code >= 500
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)):
        return False  # no network, nobody listens there, or the server is not the one it should be
    return isinstance(cause, (TimeoutError, ConnectionError, ssl.SSLError, EOFError, http.client.HTTPException))


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
