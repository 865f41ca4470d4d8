"""`mdr-tune import-official`: what it prints and writes, what MLflow has afterwards, and the user's mistakes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from mdr_tune.tracking.champion import load_model
from tests.cli.run_command import run_and_read
from tests.mlflow_globals import mlflow_globals_kept
from tests.official_state import example_image, official_state


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of its own; MLflow's globals, which are environment variables too, are put back."""
    with mlflow_globals_kept():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(tmp_path)
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model of theirs, with some numbers."""
    torch.save(official_state("resnet18"), tmp_path / "cub200.pth")
    return tmp_path / "cub200.pth"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    return run_and_read(capsys, "import-official", *arguments)


def test_it_says_what_it_found_and_how_to_load_it(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    code, output = run(capsys, "cub200.pth", "--mode", "l2", "--out", "imported")
    first, *lines = output.splitlines()
    assert code == 0
    assert first.startswith("resnet18, embeddings of 8 numbers, mode l2, from cub200.pth (SHA256 ")
    names: dict[str, object] = {}
    exec("\n".join(line.strip() for line in lines[1:]), names)  # the lines that it prints do what they say
    assert names["image_shape"] == (3, 224, 224)
    assert not (file.parent / "runs").exists()


@torch.no_grad()
def test_without_a_mode_it_says_what_it_takes_for_granted(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    code, output = run(capsys, "cub200.pth", "--out", "imported")
    assert code == 0
    assert "mode rescale" in output
    assert "for an L2NormEmbedding pass --mode l2" in output
    assert load_model(Path("imported/model.pt"))[0].mode == "rescale"


def test_registered_models_load_and_the_champion_stays(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    arguments = ["cub200.pth", "--register", "theirs", "--tracking-uri", "sqlite:///mlflow.db"]
    code, output = run(capsys, *arguments, "--mode", "l2", "--out", "l2")
    assert code == 0
    assert "Registered as theirs version 1, alias champion." in output
    load = "\n".join(line.strip() for line in output.splitlines()[-3:])
    program = f"{load}\nimport sys, torch\nassert 'mdr_tune' not in sys.modules\n" + (
        "torch.save(model(torch.load('image.pt')), 'embedding.pt')"
    )
    torch.save(example_image(), "image.pt")
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    expected = load_model(Path("l2/model.pt"))[0](example_image())
    torch.testing.assert_close(torch.load("embedding.pt"), expected, rtol=0, atol=1e-5)

    code, output = run(capsys, *arguments, "--mode", "rescale", "--out", "rescale")
    assert code == 0
    assert "Registered as theirs version 2; the champion is still version 1." in output
    assert 'load_model("models:/theirs/2")' in output

    client = MlflowClient("sqlite:///mlflow.db")
    assert str(client.get_model_version_by_alias("theirs", "champion").version) == "1"
    run_of_2 = client.get_run(client.get_model_version("theirs", "2").run_id)
    parameters = run_of_2.data.params
    assert run_of_2.info.status == "FINISHED"
    assert client.get_experiment(run_of_2.info.experiment_id).name == "theirs"
    assert len(parameters.pop("source.sha256")) == 64
    assert parameters == {
        "backbone.name": "resnet18",
        "embedding.size": "8",
        "embedding.mode": "rescale",
        "source.file": "cub200.pth",
        "source.code": "https://github.com/kakaoenterprise/AAAI2021_MDR",
    }
    kept = client.download_artifacts(run_of_2.info.run_id, "checkpoints/imported/model.pt")
    assert Path(kept).read_bytes() == Path("rescale/model.pt").read_bytes()


GOOD = ["cub200.pth", "--mode", "l2", "--out", "imported"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["cub200.pth", "--mode", "l2"], "the following arguments are required: --out"),
        (["cub200.pth", "--mode", "none", "--out", "imported"], "invalid choice: 'none'"),
        (["nowhere.pth", *GOOD[1:]], "nowhere.pth: cannot be read (No such file or directory)"),
        (["text.pth", *GOOD[1:]], "text.pth: is no file of torch.save"),
        (["cub200.pth", "--mode", "l2", "--out", "text.pth"], "text.pth/model.pt cannot be written"),
        (["cub200.pth", "--mode", "l2", "--out", "taken"], "taken/model.pt is there already and holds another model"),
        ([*GOOD, "--register", "a/b"], "--register a/b: a name has up to 64 letters, digits"),
        ([*GOOD, "--tracking-uri", "sqlite:///mlflow.db"], "add --register NAME"),
        ([*GOOD, "--register", "a", "--tracking-uri", "http://127.0.0.1:9"], "does not answer"),
        ([*GOOD, "--register", "a", "--tracking-uri", "file:///tmp/mlruns"], "MLflow cannot track to this"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], file: Path, arguments: list[str], what: str
) -> None:
    folder = file.parent
    (folder / "text.pth").write_text("not a model")
    (folder / "taken").mkdir()
    (folder / "taken" / "model.pt").write_text("of somebody else")
    before = sorted(folder.rglob("*"))
    code, message = run(capsys, *arguments)
    assert code == 2
    assert what in message
    assert sorted(folder.rglob("*")) == before
