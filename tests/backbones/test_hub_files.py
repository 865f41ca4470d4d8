"""Weights of timm in the cache folder of the Hugging Face Hub, and their download from a server like the Hub."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save

from mdr_tune.backbones import build_backbone, check_weights, fetch_weights, where_weights_are
from mdr_tune.util.errors import UserError

NAME, REPOSITORY = "timm.test_vit.r160_in1k", "models--timm--test_vit.r160_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def weights_file() -> bytes:
    torch.manual_seed(3)
    return save(timm.create_model("test_vit").state_dict())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of the Hub, which is not there yet; at the Hub's address nobody listens."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "hub"


@pytest.fixture
def asked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server that has the file as the Hub has it; what it was asked."""
    data, requests = weights_file(), list[str]()

    class Hub(http.server.BaseHTTPRequestHandler):
        def _head(self) -> bool:
            requests.append(f"{self.command} {self.path}")
            found = self.path.startswith("/timm/test_vit.r160_in1k/resolve/main/") and self.path.endswith("safetensors")
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(data)) if found else "0")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            if not found:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return found

        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            if self._head():
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield requests
    server.shutdown()
    server.server_close()


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_bytes(weights_file())
    return path


def loaded_equals_the_file() -> bool:
    torch.manual_seed(3)
    expected = timm.create_model("test_vit").state_dict()
    network = build_backbone(NAME, "DEFAULT").network
    return all(torch.equal(tensor, expected[key]) for key, tensor in network.state_dict().items())


def test_a_file_in_the_hubs_own_layout_is_found_without_the_network(cache: Path) -> None:
    blob = put(cache / REPOSITORY / "blobs" / hashlib.sha256(weights_file()).hexdigest())
    link = cache / REPOSITORY / "snapshots" / COMMIT / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    (cache / REPOSITORY / "refs").mkdir()
    (cache / REPOSITORY / "refs" / "main").write_text(COMMIT)
    check_weights(NAME, "DEFAULT")
    assert fetch_weights(NAME, "DEFAULT") == link
    assert where_weights_are("timm.test_vit", "DEFAULT") == f"test_vit.r160_in1k, in {link}"
    assert loaded_equals_the_file()
    blob.write_bytes(weights_file()[:-1] + b"x")
    with pytest.raises(UserError, match=r"model.safetensors is damaged: its SHA256 .* Delete it and start again"):
        check_weights(NAME, "DEFAULT")


def test_without_a_network_one_message_says_which_file_to_put_where_and_it_is_found_there(cache: Path) -> None:
    check_weights(NAME, "DEFAULT")
    assert not cache.exists()
    place = cache / REPOSITORY / "snapshots" / "main" / "model.safetensors"
    assert where_weights_are(NAME, "DEFAULT") == f"test_vit.r160_in1k, to be downloaded to {place}"
    with pytest.raises(UserError) as caught:
        build_backbone(NAME, "DEFAULT")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"backbone.weights: cannot download DEFAULT of {NAME}: ",
        "Connection refused",
        "Get http://127.0.0.1:9/timm/test_vit.r160_in1k/resolve/main/model.safetensors on a machine that can",
        f"put it at {place} (",
        "backbone.weights to none",
        "or to the path of the file",
    ):
        assert part in message
    put(place)
    assert loaded_equals_the_file()


def test_one_downloads_and_the_others_wait(cache: Path, asked: list[str]) -> None:
    found: list[Path | None] = []
    threads = [threading.Thread(target=lambda: found.append(fetch_weights(NAME, "DEFAULT"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / REPOSITORY / "snapshots" / COMMIT / "model.safetensors"] * 6
    assert [request.split()[0] for request in asked].count("GET") == 1
    check_weights(NAME, "DEFAULT")
    before = len(asked)
    assert loaded_equals_the_file()
    assert len(asked) == before  # what is there is not asked for


def test_a_repository_that_is_not_there_is_named(asked: list[str]) -> None:
    with pytest.raises(UserError, match=r"cannot download DEFAULT of timm.resnet10t: .*404"):
        fetch_weights("timm.resnet10t", "DEFAULT")


def test_a_cache_folder_that_cannot_be_written_to_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/proc/hub")
    with pytest.raises(
        UserError, match=r"cannot be downloaded to /proc/hub/.*HF_HOME to a writable folder, or put http"
    ):
        check_weights(NAME, "DEFAULT")


def test_a_model_without_published_weights_says_so() -> None:
    for function in (check_weights, fetch_weights, build_backbone):
        with pytest.raises(UserError, match=r"no weights of timm.regnetz_005 are published: set it to none"):
            function("timm.regnetz_005", "DEFAULT")
