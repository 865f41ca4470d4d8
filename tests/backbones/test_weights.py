import hashlib
import importlib.util
import io
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from matplotlib import ft2font
from torch import nn

from mdr_tune.backbones import build_backbone, check_weights, fetch_weights, weights
from mdr_tune.backbones.state_dicts import load_weights, read_state_dict
from mdr_tune.backbones.torchvision_models import classification_models
from mdr_tune.backbones.weights import published_urls
from mdr_tune.config import read_data
from mdr_tune.data import load_dataset
from mdr_tune.data.glyphs.letters import FACES, contours, font_path, shared_letters
from mdr_tune.util import download as downloading
from mdr_tune.util.errors import UserError
from tests.file_server import FileServer, serving


def conv4_file() -> tuple[str, bytes]:
    """Return a small state dict's published name and its bytes."""
    torch.manual_seed(1)
    buffer = io.BytesIO()
    torch.save(build_backbone("conv4").state_dict(), buffer)
    data = buffer.getvalue()
    return f"conv4-{hashlib.sha256(data).hexdigest()[:8]}.pth", data


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return torch.hub's folder for this test, which is not there yet; no proxy is asked for 127.0.0.1."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch home" / "hub" / "checkpoints"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(downloading, "_WAITS_S", (0.0, 0.0))
    with serving() as served:
        yield served


def publish(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let conv4 have published weights at `url`."""
    monkeypatch.setattr(weights, "published_urls", lambda name: {"IMAGENET1K_V1": url, "DEFAULT": url})


def test_every_published_file_has_its_hash_in_its_name() -> None:
    for name in {"bn_inception", *classification_models()}:
        urls = published_urls(name)
        assert urls["DEFAULT"] in [url for entry, url in urls.items() if entry != "DEFAULT"]
        for url in urls.values():
            assert url.startswith("https://")
            assert len(weights._expected_hash(Path(url))) >= 8


def test_bn_inception_is_the_file_that_the_authors_start_from() -> None:
    assert published_urls("bn_inception")["DEFAULT"].endswith("/bn_inception-52deb4733.pth")


def test_none_and_what_means_none() -> None:
    assert fetch_weights("resnet50", "none") is None
    assert fetch_weights("conv4", "none") is None
    assert fetch_weights("conv4", "DEFAULT") is None
    torch.manual_seed(0)
    drawn = build_backbone("conv4").state_dict()
    torch.manual_seed(0)
    default = build_backbone("conv4", "DEFAULT").state_dict()
    assert all(torch.equal(tensor, default[name]) for name, tensor in drawn.items())


def test_weights_that_come_with_the_package() -> None:
    """They were trained on symbols, and find letters, which are new to them."""
    backbone = build_backbone("conv4", "symbols").eval()
    path = fetch_weights("conv4", "symbols")
    assert path is not None
    published = read_state_dict(path)
    assert all(torch.equal(tensor, published[name]) for name, tensor in backbone.state_dict().items())
    letters = load_dataset(read_data("glyphs")).split("validation")
    with torch.no_grad():
        images = backbone.normalize(letters.images[torch.arange(len(letters.labels))])
        features = torch.nn.functional.normalize(backbone(images))
    nearest = (features @ features.T).fill_diagonal_(-2).argmax(1)
    assert (letters.labels[nearest] == letters.labels).double().mean() > 0.5


def test_no_symbol_looks_like_a_letter() -> None:
    file = Path(__file__).parents[2] / "scripts" / "train_symbols.py"
    spec = importlib.util.spec_from_file_location("train_symbols", file)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    symbols = script.symbols()
    font = ft2font.FT2Font(str(font_path(FACES[0])))
    assert len(symbols) > 1500
    assert not {contours(font, code) for code in symbols} & {contours(font, code) for code in shared_letters()}


def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"whatever")
    assert fetch_weights("resnet50", str(path)) == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch_weights("resnet50", "~/mine.pt") == path


def test_neither_a_path_nor_published_weights() -> None:
    with pytest.raises(
        UserError,
        match=r"backbone.weights: there is no file 'IMAGENET1K_V3' \(/.*/IMAGENET1K_V3\).*"
        r"published weights of resnet50: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT",
    ):
        fetch_weights("resnet50", "IMAGENET1K_V3")
    with pytest.raises(UserError, match=r"no file '/nowhere/x.pt'.*published weights of conv4: symbols"):
        build_backbone("conv4", "/nowhere/x.pt")


@pytest.mark.parametrize("function", [check_weights, fetch_weights])
def test_slips_get_a_suggestion(function: Callable[[str, str], object]) -> None:
    for given, meant in (("default", "DEFAULT"), ("Default", "DEFAULT"), ("imagenet1k_v2", "IMAGENET1K_V2")):
        with pytest.raises(UserError, match=f"no file '{given}' .*Did you mean '{meant}'\\? .*IMAGENET1K_V1, IMAGENET"):
            function("resnet50", given)
    with pytest.raises(UserError, match=r"Did you mean 'none'\?"):
        function("resnet50", "None")
    with pytest.raises(UserError, match=r"Did you mean 'DEFAULT'\?.*published weights of conv4: symbols"):
        function("conv4", "default")
    with pytest.raises(UserError, match=r"no file '/nowhere/x.pt' \(/nowhere/x.pt\)\. Give the path"):
        function("resnet50", "/nowhere/x.pt")


def test_checking_needs_no_network(
    checkpoints: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = conv4_file()
    check_weights("conv4", "DEFAULT")
    publish(monkeypatch, server.url(name))
    (tmp_path / "mine.pt").write_bytes(b"whatever")
    for given in ("none", "DEFAULT", "IMAGENET1K_V1", str(tmp_path / "mine.pt")):
        check_weights("conv4", given)
    assert not checkpoints.exists()
    checkpoints.mkdir(parents=True)
    (checkpoints / name).write_bytes(data[:-1])
    with pytest.raises(UserError, match=f"{name} is damaged"):
        check_weights("conv4", "DEFAULT")
    assert not server.asked


def test_downloads_once_into_torch_hubs_folder(
    checkpoints: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = conv4_file()
    server.files[name] = data
    publish(monkeypatch, server.url(name))
    for entry in ("IMAGENET1K_V1", "DEFAULT"):
        assert fetch_weights("conv4", entry) == checkpoints / name
    assert (checkpoints / name).read_bytes() == data
    assert server.asked == [None]
    loaded = build_backbone("conv4", "DEFAULT").state_dict()
    expected = torch.load(io.BytesIO(data), weights_only=True)
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in expected.items())


def test_several_at_once_download_once(checkpoints: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    name, data = conv4_file()
    server.files[name] = data
    publish(monkeypatch, server.url(name))
    found: list[Path | None] = []
    threads = [threading.Thread(target=lambda: found.append(fetch_weights("conv4", "DEFAULT"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [checkpoints / name] * 8
    assert server.asked == [None]


def test_a_file_that_is_there_needs_no_network(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, data = conv4_file()
    checkpoints.mkdir(parents=True)
    (checkpoints / name).write_bytes(data)
    publish(monkeypatch, f"http://127.0.0.1:9/{name}")
    assert fetch_weights("conv4", "DEFAULT") == checkpoints / name


def test_a_damaged_file_says_so(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, data = conv4_file()
    checkpoints.mkdir(parents=True)
    (checkpoints / name).write_bytes(data[:-1])
    publish(monkeypatch, f"http://127.0.0.1:9/{name}")
    with pytest.raises(UserError, match=f"{name} is damaged: its SHA256 begins with .*Delete it and start again"):
        build_backbone("conv4", "DEFAULT")
    assert (checkpoints / name).exists()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def test_without_a_network_one_message_says_what_to_do(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = conv4_file()
    url = f"http://127.0.0.1:{closed_port()}/{name}"
    publish(monkeypatch, url)
    with pytest.raises(UserError) as caught:
        build_backbone("conv4", "IMAGENET1K_V1")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "backbone.weights: cannot download IMAGENET1K_V1 of conv4: ",
        "Connection refused",
        f"Get {url} on",
        f"put it at {checkpoints / name} ",
        "TORCH_HOME",
        "backbone.weights to none",
        "or to the path of a state dict",
    ):
        assert part in message
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "HTTP Error 404"), (b"<html>log in first</html>", "damaged or another file")]
)
def test_what_is_not_the_file_leaves_nothing(
    content: bytes | None, reason: str, checkpoints: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = conv4_file()
    server.files |= {} if content is None else {name: content}
    publish(monkeypatch, server.url(name))
    with pytest.raises(UserError, match=f"cannot download DEFAULT of conv4: .*{reason}"):
        fetch_weights("conv4", "DEFAULT")
    assert [path.name for path in checkpoints.iterdir()] == [f"{name}.lock"]


def test_a_download_that_breaks_off_goes_on_where_it_was(
    checkpoints: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = conv4_file()
    server.files[name], server.cut_after = data, len(data) // 3
    publish(monkeypatch, server.url(name))
    assert fetch_weights("conv4", "DEFAULT") == checkpoints / name
    assert (checkpoints / name).read_bytes() == data
    assert server.asked[:2] == [None, f"bytes={len(data) // 3}-"]


def test_a_server_that_does_not_answer_is_given_up(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(downloading, "_WAITS_S", (0.0,))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}/conv4-0123abcd.pth")
        with pytest.raises(UserError, match=r"cannot download DEFAULT of conv4: .*timed out"):
            fetch_weights("conv4", "DEFAULT")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    publish(monkeypatch, "http://127.0.0.1:9/conv4-0123abcd.pth")
    with pytest.raises(UserError, match=r"file is a file\).*TORCH_HOME"):
        fetch_weights("conv4", "DEFAULT")


def test_a_folder_that_cannot_be_made_is_named_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "/proc/torch")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    with pytest.raises(UserError, match=r"cannot be downloaded to /proc/torch/hub/checkpoints .* TORCH_HOME"):
        check_weights("resnet18", "DEFAULT")


def saved(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


UNREADABLE = {
    "empty": b"",
    "text": b"no weights",
    "pickle": b"\x80\x02garbage",
    "cut off": conv4_file()[1][:-500],
    "a whole network": saved(nn.Linear(2, 3)),
    "a whole network, old format": saved(nn.Linear(2, 3), _use_new_zipfile_serialization=False),
    "safetensors": b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(20),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=list(UNREADABLE))
def test_a_file_that_torch_cannot_read(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        build_backbone("conv4", str(path))
    assert str(caught.value) == (
        f"backbone.weights: cannot read {path}: it is damaged or another kind of file; "
        "a state dict is expected, saved by torch.save(model.state_dict(), path)"
    )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_whatever_is_damaged_torchs_message_is_not_shown(zipped: bool, tmp_path: Path) -> None:
    path, chance = tmp_path / "damaged.pt", random.Random(0)
    good = saved({"weight": torch.ones(3, 2)}, _use_new_zipfile_serialization=zipped)
    messages = []
    for _ in range(300):
        data = bytearray(good)
        for _ in range(5):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            read_state_dict(path)
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not any("weights_only" in message for message in messages)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: .*Is a directory"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3, "weights": torch.zeros(1)}, torch.zeros(2)])
def test_a_file_with_something_else(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt holds no state dict"):
        read_state_dict(tmp_path / "other.pt")


def test_code_in_a_file_is_not_executed(tmp_path: Path) -> None:
    torch.save({"weight": Path("x")}, tmp_path / "code.pt")
    with pytest.raises(UserError, match=r"cannot read .*code.pt: it is damaged or another kind of file"):
        read_state_dict(tmp_path / "code.pt")


def test_load_weights_wants_every_tensor_and_no_other() -> None:
    path = Path("x.pt")
    network = nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    load_weights(network, good, path)
    assert torch.equal(network.weight, good["weight"])
    load_weights(network, good | {"head": torch.ones(1)}, path, lambda state: {key: state[key] for key in good})
    with pytest.raises(UserError, match=r"x.pt does not fit the network: it lacks bias$"):
        load_weights(network, {"weight": good["weight"]}, path)
    with pytest.raises(UserError, match=r"it has unknown a, b, c and 1 more$"):
        load_weights(network, good | dict.fromkeys("abcd", torch.ones(1)), path)
    with pytest.raises(UserError, match="does not fit the network: size mismatch for bias"):
        load_weights(network, good | {"bias": torch.ones(4)}, path)
    with pytest.raises(UserError, match=r"x.pt has values that are not finite in bias: take other weights"):
        load_weights(network, good | {"bias": torch.full((3,), torch.nan)}, path)
