import hashlib
import http.client
import shutil
import socket
import ssl
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from mdr_tune.util import download as module
from mdr_tune.util.download import Digest, DownloadError, digest_of, download
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.file_server import FileServer, serving
from tests.waiting import HANG_S

DATA = np.random.default_rng(0).bytes(1_000_003)
MD5 = Digest("md5", hashlib.md5(DATA).hexdigest())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Serve `DATA` as x.tgz; no proxy is asked for 127.0.0.1, and nobody waits between two attempts."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "_WAITS_S", (0.0, 0.0, 0.0))
    with serving() as served:
        served.files["x.tgz"] = DATA
        yield served


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.tgz"


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def fail_to_download(url: str, path: Path, digest: Digest = MD5, size_bytes: int | None = None) -> str:
    """Return the message of the failure, having checked that there is no file under the final name."""
    with pytest.raises(DownloadError) as caught:
        download([url], path, digest, no_progress, size_bytes)
    assert not path.exists()
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size_bytes", [None, len(DATA)])
@pytest.mark.parametrize("length_known", [True, False])
def test_a_file_comes_as_it_is(length_known: bool, size_bytes: int | None, server: FileServer, path: Path) -> None:
    server.length_known = length_known
    told: list[tuple[str, int, int]] = []
    download([server.url("x.tgz")], path, MD5, lambda *report: told.append(report), size_bytes)
    assert path.read_bytes() == DATA
    assert names(path) == ["x.tgz"]
    assert server.asked == [None]
    done = [(now, total) for what, now, total in told if what == "downloading x.tgz"]
    assert [now for now, _ in done] == sorted(now for now, _ in done)
    assert done[-1] == (len(DATA), len(DATA) if length_known or size_bytes else 0)
    assert told[-1] == ("checking x.tgz", len(DATA), len(DATA))


def test_goes_on_from_what_an_earlier_process_left(server: FileServer, path: Path) -> None:
    path.with_name("x.tgz.part").write_bytes(DATA[:300_000])
    download([server.url("x.tgz")], path, MD5, no_progress)
    assert path.read_bytes() == DATA
    assert server.asked == ["bytes=300000-"]


def test_goes_on_after_each_interruption(server: FileServer, path: Path) -> None:
    server.cut_after = 250_000  # five answers: more than attempts in vain are allowed, but each brings something
    download([server.url("x.tgz")], path, MD5, no_progress)
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=250000-", "bytes=500000-", "bytes=750000-", "bytes=1000000-"]


def test_starts_over_where_the_server_knows_no_ranges(server: FileServer, path: Path) -> None:
    server.ranges = False
    path.with_name("x.tgz.part").write_bytes(b"?" * 300_000)
    download([server.url("x.tgz")], path, MD5, no_progress)
    assert path.read_bytes() == DATA
    assert server.asked == ["bytes=300000-"]


def test_an_answer_that_never_gets_further_is_given_up_and_kept(server: FileServer, path: Path) -> None:
    server.ranges, server.cut_after = False, 250_000
    message = fail_to_download(server.url("x.tgz"), path)
    assert message.startswith("the connection ended after 250,000 of 1,000,003 bytes")
    assert len(server.asked) == 1 + 4
    assert names(path) == ["x.tgz.part"]
    server.ranges, server.cut_after = True, None
    download([server.url("x.tgz")], path, MD5, no_progress)
    assert path.read_bytes() == DATA
    assert server.asked[-1] == "bytes=250000-"


@pytest.mark.parametrize("size_bytes", [None, len(DATA)])
def test_killed_between_the_last_byte_and_the_check(size_bytes: int | None, server: FileServer, path: Path) -> None:
    path.with_name("x.tgz.part").write_bytes(DATA)
    download([server.url("x.tgz")], path, MD5, no_progress, size_bytes)
    assert path.read_bytes() == DATA
    assert server.asked == ([] if size_bytes else [f"bytes={len(DATA)}-"])


@pytest.mark.parametrize("length_known", [True, False])
def test_another_file_says_what_came_and_is_not_kept(length_known: bool, server: FileServer, path: Path) -> None:
    server.length_known = length_known
    server.files["x.tgz"] = b"<html>log in first</html>"
    found = hashlib.md5(server.files["x.tgz"]).hexdigest()
    message = fail_to_download(server.url("x.tgz"), path)
    assert f"damaged or another file: MD5 {found} of 25 bytes, expected {MD5.begins}" in message
    assert names(path) == []


def test_a_truncated_file_of_unknown_length_does_not_pass(server: FileServer, path: Path) -> None:
    server.length_known, server.cut_after = False, 1000
    assert "MD5" in fail_to_download(server.url("x.tgz"), path)
    server.cut_after = 400_000
    server.asked.clear()
    download([server.url("x.tgz")], path, MD5, no_progress, len(DATA))  # if the size is known, it is seen, and resumed
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=400000-", "bytes=800000-"]


def test_a_part_of_another_file_does_not_pass_and_is_not_kept(server: FileServer, path: Path) -> None:
    path.with_name("x.tgz.part").write_bytes(b"?" * 300_000)
    assert "damaged or another file" in fail_to_download(server.url("x.tgz"), path)
    assert names(path) == []
    download([server.url("x.tgz")], path, MD5, no_progress)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_an_error_that_may_pass_is_tried_again(code: int, server: FileServer, path: Path) -> None:
    server.failures = [code] * 3
    download([server.url("x.tgz")], path, MD5, no_progress)
    assert path.read_bytes() == DATA
    assert len(server.asked) == 4
    path.unlink()
    server.failures = [code] * 99
    assert f"HTTP Error {code}" in (message := fail_to_download(server.url("x.tgz"), path))
    assert "(4 times in a row)" in message
    assert len(server.asked) == 8


def test_an_error_that_stays_is_not_tried_again(server: FileServer, path: Path) -> None:
    assert "HTTP Error 404" in fail_to_download(server.url("y.tgz"), path)
    assert len(server.asked) == 1
    assert names(path) == []


def test_nobody_there(server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITS_S", (99.0,))  # were it tried again, this test would take so long
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    assert "Connection refused" in fail_to_download(f"http://127.0.0.1:{closed}/x.tgz", path)


def test_what_may_pass() -> None:
    """Without a network the answer comes at once; a connection that breaks is worth another attempt."""
    stays = [socket.gaierror(-3, "no name server"), ssl.SSLCertVerificationError("not who it should be"), OSError(28)]
    passes = [TimeoutError(), ConnectionResetError(), ssl.SSLEOFError(), http.client.IncompleteRead(b"")]
    for error in stays:
        assert not module._may_pass(error)
        assert not module._may_pass(urllib.error.URLError(error))
    for other in passes:
        assert module._may_pass(other)
        assert module._may_pass(urllib.error.URLError(other))  # type: ignore[arg-type]


def test_a_server_that_falls_silent_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "_WAITS_S", (0.0,))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = fail_to_download(f"http://127.0.0.1:{silent.getsockname()[1]}/x.tgz", path)
    assert message.endswith("timed out (2 times in a row)")


def test_the_next_url_is_tried(server: FileServer, path: Path) -> None:
    server.files["z.tgz"] = b"another"
    urls = [server.url("y.tgz"), server.url("z.tgz"), server.url("x.tgz")]
    download(urls, path, MD5, no_progress)
    assert path.read_bytes() == DATA
    path.unlink()
    with pytest.raises(DownloadError) as caught:
        download(urls[:2], path, MD5, no_progress)
    for part in (f"{urls[0]}: HTTP Error 404", f"; {urls[1]}: what came is damaged or another file"):
        assert part in str(caught.value)


def test_a_full_disk_is_known_before(server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=900_000))
    with pytest.raises(
        UserError, match=r"not enough disk space to download x.tgz: 1 MB are needed and 900 kB are free in "
    ):
        download([server.url("x.tgz")], path, MD5, no_progress)
    assert names(path) == []
    path.with_name("x.tgz.part").write_bytes(DATA[:300_000])  # what is there already needs no room
    download([server.url("x.tgz")], path, MD5, no_progress)
    assert path.read_bytes() == DATA


def test_ftp_starts_over(path: Path) -> None:
    path.with_name("x.tgz.part").write_bytes(DATA[:300_000])
    with ftp_server(DATA) as port:
        download([f"ftp://127.0.0.1:{port}/pub/x.tgz"], path, MD5, no_progress)
    assert path.read_bytes() == DATA


@contextmanager
def ftp_server(data: bytes) -> Iterator[int]:
    """Serve one file to one client, with the few commands of FTP that urllib uses; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as control, socket.create_server(("127.0.0.1", 0)) as transfer:
        high, low = divmod(transfer.getsockname()[1], 256)
        answers = {
            "USER": "331 password?",
            "PASS": "230 welcome",
            "EPSV": f"229 Entering (|||{256 * high + low}|)",
            "PASV": f"227 Entering (127,0,0,1,{high},{low})",
            "RETR": f"150 Opening ({len(data)} bytes)",
        }

        def talk() -> None:
            client, _ = control.accept()
            with client, client.makefile("r", encoding="ascii", newline="\r\n") as commands:
                client.sendall(b"220 ready\r\n")
                for line in commands:
                    command = line.split()[0].upper()
                    client.sendall(answers.get(command, "250 yes").encode() + b"\r\n")
                    if command == "RETR":
                        connection, _ = transfer.accept()
                        with connection:
                            connection.sendall(data)
                        client.sendall(b"226 done\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        yield control.getsockname()[1]
        thread.join(timeout=HANG_S)
        assert not thread.is_alive()


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_digest_is_that_of_hashlib(algorithm: Literal["md5", "sha256"], path: Path, server: FileServer) -> None:
    for content in (DATA, b""):
        path.write_bytes(content)
        assert digest_of(path, algorithm) == hashlib.new(algorithm, content).hexdigest()
    path.unlink()
    download([server.url("x.tgz")], path, Digest(algorithm, hashlib.new(algorithm, DATA).hexdigest()[:8]))
    assert path.read_bytes() == DATA
