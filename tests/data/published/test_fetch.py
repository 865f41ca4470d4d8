import dataclasses
import hashlib
import io
import shutil
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.data.published.benchmark import Archive, Benchmark
from mdr_tune.data.published.cars196 import CARS196
from mdr_tune.data.published.cub200 import CUB200
from mdr_tune.data.published.fetch import fetch, is_unpacked
from mdr_tune.data.published.inshop import INSHOP
from mdr_tune.data.published.sop import SOP
from mdr_tune.util import download
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.data.published.layouts import write_cars196, write_cars196_devkit, write_cub200, write_inshop, write_sop
from tests.file_server import FileServer, serving

BENCHMARKS = (CUB200, CARS196, SOP, INSHOP)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_WAITS_S", (0.0,))
    with serving() as served:
        yield served


def tgz(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    return buffer.getvalue()


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder.parent))
    return buffer.getvalue()


def published(benchmark: Benchmark, server: FileServer, *contents: bytes) -> Benchmark:
    """Return the benchmark with archives of these contents, which the server has."""
    archives = []
    for archive, content in zip(benchmark.archives, contents, strict=True):
        server.files[archive.name] = content
        archives.append(
            dataclasses.replace(
                archive,
                urls=(server.url(archive.name),),
                md5=hashlib.md5(content).hexdigest(),
                size_bytes=len(content),
            )
        )
    return dataclasses.replace(benchmark, archives=tuple(archives))


@pytest.fixture
def cub200(server: FileServer, tmp_path: Path) -> Benchmark:
    return published(CUB200, server, tgz(write_cub200(tmp_path / "made", [1] * 200, "linked")))


def test_where_there_is_a_url_there_is_a_checksum() -> None:
    for benchmark in BENCHMARKS:
        assert benchmark.by_hand
        for archive in benchmark.archives:
            assert bool(archive.urls) == (archive.md5 is not None and len(archive.md5) == 32)
            assert all(url.endswith("/" + archive.name) for url in archive.urls)
    assert [archive.name for archive in INSHOP.archives if archive.urls] == []


def test_downloads_unpacks_and_then_has_nothing_to_do(cub200: Benchmark, server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "new" / "folder"
    fetch(cub200, root, no_progress)
    listing = cub200.read(root)
    assert len(listing) == 200
    assert all((listing.root / path).is_file() for path in listing.paths)
    assert sorted(path.name for path in root.iterdir()) == [".cub200.lock", "CUB_200_2011", "CUB_200_2011.tgz"]
    for again in (root, root / "CUB_200_2011"):
        fetch(cub200, again, no_progress)
    assert server.asked == [None]


def test_a_zip_too(server: FileServer, tmp_path: Path) -> None:
    sop = published(SOP, server, zipped(write_sop(tmp_path / "made", [2, 1], [2], "linked")))
    fetch(sop, tmp_path / "root", no_progress)
    assert len(sop.read(tmp_path / "root")) == 5


def test_an_archive_that_lies_there_is_used(cub200: Benchmark, server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "CUB_200_2011.tgz").write_bytes(server.files["CUB_200_2011.tgz"])
    fetch(cub200, tmp_path, no_progress)
    assert len(cub200.read(tmp_path)) == 200
    assert server.asked == []


def test_an_archive_that_lies_there_and_is_damaged_is_left_alone(
    cub200: Benchmark, server: FileServer, tmp_path: Path
) -> None:
    path = tmp_path / "CUB_200_2011.tgz"
    path.write_bytes(b"cut")
    with pytest.raises(UserError) as caught:
        fetch(cub200, tmp_path, no_progress)
    for part in (f"{path} is damaged", hashlib.md5(b"cut").hexdigest(), str(cub200.archives[0].md5), "Delete it"):
        assert part in str(caught.value)
    assert path.read_bytes() == b"cut"
    assert not (tmp_path / "CUB_200_2011").exists()


def test_without_a_network_one_message_says_which_file_to_put_where(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    url = f"http://127.0.0.1:{closed}/CUB_200_2011.tgz"
    cub200 = dataclasses.replace(CUB200, archives=(dataclasses.replace(CUB200.archives[0], urls=(url,)),))
    with pytest.raises(UserError) as caught:
        fetch(cub200, tmp_path, no_progress)
    assert str(caught.value) == (
        f"cannot download CUB_200_2011.tgz of CUB-200-2011: [Errno 111] Connection refused. "
        f"Get this file on a machine that can, put it there, and start again: {tmp_path / 'CUB_200_2011.tgz'} "
        f"(1.15 GB, MD5 97eceeb196236b17998738112f37df78, {url}). {CUB200.by_hand}"
    )
    assert caught.value.__suppress_context__
    assert [path.name for path in tmp_path.iterdir()] == [".cub200.lock"]


def test_of_several_archives_those_that_are_missing_are_fetched(server: FileServer, tmp_path: Path) -> None:
    made = write_cars196(tmp_path / "made", [1] * 196, "linked")
    cars196 = published(CARS196, server, (made / "cars_annos.mat").read_bytes(), tgz(made / "car_ims"))
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(made / "cars_annos.mat", root)
    fetch(cars196, root, no_progress)
    assert len(server.asked) == 1
    assert len(cars196.read(root)) == 196
    fetch(cars196, tmp_path / "other", no_progress)
    assert (tmp_path / "other" / "cars_annos.mat").read_bytes() == (made / "cars_annos.mat").read_bytes()
    assert len(cars196.read(tmp_path / "other")) == 196


def test_a_file_that_is_gone_says_so_for_all_that_are_missing(server: FileServer, tmp_path: Path) -> None:
    cars196 = published(CARS196, server, b"annotations", b"images")
    server.files.clear()
    with pytest.raises(UserError) as caught:
        fetch(cars196, tmp_path, no_progress)
    for part in (
        "cannot download cars_annos.mat of Cars-196: ",
        "HTTP Error 404",
        "Get these files",
        str(tmp_path / "cars_annos.mat"),
        str(tmp_path / "car_ims.tgz"),
        "no longer does",
        "cars_test_annos_withlabels.mat",
    ):
        assert part in str(caught.value)


def test_the_devkits_layout_needs_no_download(tmp_path: Path) -> None:
    write_cars196_devkit(tmp_path / "stanford_cars", [1] * 196, "linked")
    fetch(CARS196, tmp_path, no_progress)
    assert not (tmp_path / ".cars196.lock").exists()


def test_what_is_handed_out_by_a_form_is_named_and_then_unpacked(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        fetch(INSHOP, tmp_path, no_progress)
    for part in ("not complete", str(tmp_path / "list_eval_partition.txt"), str(tmp_path / "img.zip"), "mmlab.ie"):
        assert part in str(caught.value)
    write_inshop(tmp_path / "made", [2, 2], [1, 1], [1, 1], "linked")
    (tmp_path / "Inshop" / "Eval").mkdir(parents=True)
    shutil.copy(tmp_path / "made" / "list_eval_partition.txt", tmp_path / "Inshop" / "Eval")
    with pytest.raises(UserError, match=r"Get this file .*/img.zip") as caught:
        fetch(INSHOP, tmp_path, no_progress)
    assert "list_eval_partition.txt (" not in str(caught.value)
    (tmp_path / "Inshop" / "Img").mkdir()
    (tmp_path / "Inshop" / "Img" / "img.zip").write_bytes(zipped(tmp_path / "made" / "img"))
    fetch(INSHOP, tmp_path, no_progress)
    listing = INSHOP.read(tmp_path)
    assert len(listing) == 8
    assert all((listing.root / path).is_file() for path in listing.paths)


def test_several_at_once_download_once(cub200: Benchmark, server: FileServer, tmp_path: Path) -> None:
    root = tmp_path / "root"
    threads = [threading.Thread(target=fetch, args=(cub200, root, no_progress)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cub200.read(root)) == 200
    assert server.asked == [None]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data.root: cannot write to .*file/root: .*Not a directory"):
        fetch(CUB200, tmp_path / "file" / "root", no_progress)


def test_unpacked_in_any_of_the_usual_places(tmp_path: Path) -> None:
    archive = Archive(name="x.zip", makes=("a", "b/c"))
    benchmark = dataclasses.replace(CUB200, homes=("", "home"), archives=(archive,))
    assert not is_unpacked(benchmark, tmp_path, archive)
    for place in ("a", "b/c", "home/a", "home/b/c"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        assert not is_unpacked(benchmark, tmp_path, archive)
        (folder / "image.jpg").touch()
        assert is_unpacked(benchmark, tmp_path, archive)
        shutil.rmtree(folder)


@pytest.mark.parametrize("benchmark", [CUB200, SOP], ids=lambda benchmark: benchmark.name)
def test_a_folder_without_the_lists_is_not_taken_for_the_data_set(benchmark: Benchmark, tmp_path: Path) -> None:
    (archive,) = benchmark.archives
    folder, lists = archive.makes
    (tmp_path / folder / "images").mkdir(parents=True)
    assert not is_unpacked(benchmark, tmp_path, archive)
    with pytest.raises(UserError) as caught:
        fetch(benchmark, tmp_path, no_progress)  # before any download
    assert str(caught.value) == (
        f"data.root: {tmp_path / folder} is an incomplete copy of {benchmark.title}, without {lists}: delete this "
        "folder, and start again"
    )
    (tmp_path / folder / lists).touch()
    assert is_unpacked(benchmark, tmp_path, archive)
    assert is_unpacked(benchmark, tmp_path / folder, archive)


def test_an_empty_folder_is_filled(cub200: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "CUB_200_2011").mkdir()
    fetch(cub200, tmp_path, no_progress)
    assert len(cub200.read(tmp_path)) == 200
