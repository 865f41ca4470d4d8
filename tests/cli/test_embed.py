"""`mdr-tune embed` and `mdr-tune search`: a champion trained on letters finds the letters of picture files."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageSplit, load_dataset, read_test_split
from mdr_tune.metric import retrieval_metrics
from mdr_tune.retrieve import read_index
from mdr_tune.tracking.champion import register_champion
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.moved import follow
from mdr_tune.training import TrialSession
from tests.cli.run_command import run_command
from tests.mlflow_globals import mlflow_globals_kept

LETTERS, FACES = 30, 12
MODEL = "models:/letters@champion"


class Letters(NamedTuple):
    """A folder with a store, a folder of pictures of test letters, and their index, made by the command."""

    storage: Path
    images: Path
    index: Path
    split: ImageSplit
    session: TrialSession


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Letters:
    """Train a few epochs, register the champion, write letters as PNGs, and embed them in a process of its own."""
    folder = tmp_path_factory.mktemp("letters")
    config = {"embedding": {"size": 32, "mode": "l2"}, "epochs": 5, "iterations_per_epoch": 40}
    session = TrialSession(TrialConfig.model_validate(config), load_dataset(GlyphsDataConfig()))
    for _ in range(5):
        session.train_epoch()
    torch.save(session.state_dict(), folder / "checkpoint.pt")
    storage = folder / "runs"
    storage.mkdir()
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(f"sqlite:///{storage / 'mlflow.db'}")
        client = MlflowClient()
        experiment = open_experiment(client, "letters", storage / "mlartifacts")
        run = client.create_run(experiment).info.run_id
        register_champion(client, experiment, run, "letters", folder / "checkpoint.pt", "val/recall_at_1")
    test = read_test_split(GlyphsDataConfig())
    split = ImageSplit(test.images[torch.arange(LETTERS * FACES)], test.labels[: LETTERS * FACES])
    for number, (image, label) in enumerate(zip(split.images[torch.arange(len(split))], split.labels, strict=True)):
        file = folder / "pictures" / f"letter_{label}" / f"face_{number % FACES:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(file)
    command = f"embed --model {MODEL} --images pictures --out e.parquet --storage runs".split()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "mdr_tune.cli.main", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "360 embeddings of 32 numbers, by models:/letters/1 on c" in done.stdout
    assert sorted(entry.name for entry in folder.iterdir()) == ["checkpoint.pt", "e.parquet", "pictures", "runs"]
    return Letters(storage, folder / "pictures", folder / "e.parquet", split, session)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with mlflow_globals_kept():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(tmp_path)
        yield


def test_one_face_finds_its_letter(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 360 pictures 11 are others of a letter: by chance 3 % of what is found would be."""
    queries = sorted(letters.images.glob("letter_*/face_00.png"))
    arguments = ["search", "--index", letters.index, "--query", *queries, "--storage", letters.storage]
    code, _, _ = run_command(capsys, *arguments, "--exclude-self", "--top", 5, "--out", "found.json")
    assert code == 0
    found = json.loads(Path("found.json").read_text())
    assert len(found) == 5 * LETTERS
    hits = [Path(row["query"]).parent.name == row["label"] for row in found]
    firsts = [hit for hit, row in zip(hits, found, strict=True) if row["rank"] == 1]
    assert sum(firsts) / len(firsts) > 0.6
    assert sum(hits) / len(hits) > 0.5


def test_the_shares_found_are_the_recalls_of_the_trial(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands embed and search as an evaluation does: same pixels, same network, same distances."""
    index = read_index(letters.index)
    arguments = ["search", "--index", letters.index, "--query", letters.index, "--exclude-self", "--top", 8]
    assert run_command(capsys, *arguments, "--out", "found.csv")[0] == 0
    rows = list(csv.DictReader(io.StringIO(Path("found.csv").read_text())))
    assert len(rows) == 8 * len(index)
    own = dict(zip(index.paths.to_pylist(), index.labels.to_pylist(), strict=True))
    labels = [int(path.split("/")[0].removeprefix("letter_")) for path in index.paths.to_pylist()]
    of_embeddings = retrieval_metrics(index.embeddings(), torch.tensor(labels), (1, 2, 4, 8))
    of_trial = letters.session.evaluate_test(letters.split)
    for k in (1, 2, 4, 8):
        found = {row["query"] for row in rows if int(row["rank"]) <= k and row["label"] == own[row["query"]]}
        recall = 100 * len(found) / len(index)
        assert recall == pytest.approx(of_embeddings[f"recall_at_{k}"])
        assert recall == pytest.approx(of_trial[f"test/recall_at_{k}"])


def test_the_embeddings_are_those_of_the_trial(letters: Letters) -> None:
    index = read_index(letters.index)
    with torch.no_grad():
        expected = letters.session.model.eval()(letters.split.images[torch.arange(len(letters.split))])
    order = sorted(range(len(expected)), key=lambda row: (f"letter_{letters.split.labels[row]}", row))
    torch.testing.assert_close(index.embeddings(), expected[order], rtol=0, atol=1e-5)
    assert (index.info.model, index.info.root) == ("models:/letters/1", str(letters.images))


def test_the_table(letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
    query = letters.images / "letter_900" / "face_03.png"
    arguments = ["search", "--index", letters.index, "--query", query, "--storage", letters.storage, "--top", 3]
    code, out, _ = run_command(capsys, *arguments)
    assert code == 0
    first = next(line for line in out.splitlines() if "│    1 │" in line)
    assert "letter_900/face_03.png" in first
    assert str(query) in out
    assert "360 images embedded by models:/letters/1, exact search" in out
    _, without, _ = run_command(capsys, *arguments, "--exclude-self")
    assert "│ letter_900/face_03.png" not in without
    assert "│    3 │" in without


def test_a_folder_of_queries(letters: Letters, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Copies are found at 0, and are not the same files; a broken one is said."""
    shutil.copytree(letters.images / "letter_901", tmp_path / "q")
    (tmp_path / "q" / "broken.png").write_bytes(b"?")
    arguments = ["search", "--index", letters.index, "--query", "q", "--storage", letters.storage, "--exclude-self"]
    code, _, err = run_command(capsys, *arguments, "--top", 1, "--out", "found.csv")
    assert code == 0
    assert "Left out: 1 of 13 images cannot be decoded: broken.png" in err
    rows = list(csv.DictReader(io.StringIO(Path("found.csv").read_text())))
    assert [row["path"] for row in rows] == [f"letter_901/face_{face:02d}.png" for face in range(FACES)]
    assert all(float(row["distance"]) < 1e-5 for row in rows)


NOT_UTF_8 = "r\udce9"  # bytes r and E9: é in Latin-1


def test_names_that_are_not_utf_8(letters: Letters, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    query = tmp_path / f"{NOT_UTF_8}.png"
    shutil.copy(letters.images / "letter_900" / "face_00.png", query)
    index = tmp_path / f"{NOT_UTF_8}.parquet"
    shutil.copy(letters.index, index)
    arguments = ["search", "--index", index, "--query", query, "--storage", letters.storage, "--top", 2]
    shown = f"{tmp_path}/r\\xe9.png"
    code, printed, _ = run_command(capsys, *arguments, "--exclude-self")
    assert (code, printed.splitlines()[0]) == (0, shown)
    for suffix in (".csv", ".json"):
        code, printed, _ = run_command(capsys, *arguments, "--out", NOT_UTF_8 + suffix)
        assert (code, printed.partition(" (")[0]) == (0, f"1 queries: r\\xe9{suffix}")
    rows = list(csv.DictReader(io.StringIO(Path(f"{NOT_UTF_8}.csv").read_text(encoding="utf-8"))))
    of_json = json.loads(Path(f"{NOT_UTF_8}.json").read_text(encoding="utf-8"))
    assert [row["query"] for row in rows] == [row["query"] for row in of_json] == [shown] * 2
    assert rows[0]["path"] == "letter_900/face_00.png"

    pictures = tmp_path / NOT_UTF_8  # the folder's own name may be anything, the images' names are UTF-8
    shutil.copytree(letters.images / "letter_900", pictures)
    embed = ["embed", "--model", MODEL, "--images", pictures, "--out", index, "--storage", letters.storage]
    assert run_command(capsys, *embed)[0] == 0
    assert (len(read_index(index)), read_index(index).info.root) == (FACES, str(pictures))
    (pictures / query.name).write_bytes(query.read_bytes())
    code, _, error = run_command(capsys, *embed)
    assert code == 2
    assert "r\\xe9.png is not UTF-8: rename it" in error


def test_a_moved_alias_does_not_change_what_an_index_is_searched_with(
    letters: Letters, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    storage = tmp_path / "runs"
    shutil.copytree(letters.storage, storage)
    follow(storage / "mlflow.db", [storage])  # a copy has its own artifacts
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    mlflow.set_tracking_uri(client.tracking_uri)
    experiment = client.get_experiment_by_name("letters")
    run_id = client.create_run(experiment.experiment_id).info.run_id
    checkpoint = letters.index.parent / "checkpoint.pt"
    register_champion(client, experiment.experiment_id, run_id, "letters", checkpoint, "val/recall_at_1")
    mlflow.set_tracking_uri(None)
    query = letters.images / "letter_900" / "face_03.png"
    arguments = ["search", "--index", letters.index, "--query", query, "--storage", storage]
    assert run_command(capsys, *arguments)[0] == 0
    code, _, err = run_command(capsys, *arguments, "--model", MODEL)
    assert code == 2
    assert f"--model {MODEL}:" in err
    assert "made by another model, models:/letters/1" in err
    embed = ["embed", "--model", MODEL, "--images", letters.images / "letter_900", "--storage", storage]
    assert run_command(capsys, *embed, "--out", "second.parquet")[0] == 0
    code, _, err = run_command(capsys, "search", "--index", letters.index, "--query", "second.parquet")
    assert code == 2
    assert "--query second.parquet: made by models:/letters/2, the index by models:/letters/1" in err


def test_broken_pictures(letters: Letters, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copytree(letters.images / "letter_902", tmp_path / "p")
    (tmp_path / "p" / "broken.png").write_bytes(b"?")
    arguments = ["embed", "--model", MODEL, "--images", "p", "--out", "e.parquet", "--storage", letters.storage]
    code, _, err = run_command(capsys, *arguments, "--strict")
    assert code == 2
    assert "p: broken.png cannot be decoded (not an image that Pillow can read)" in err
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]
    code, out, _ = run_command(capsys, *arguments, "--batch-size", 5)
    assert code == 0
    assert "Left out: 1 of 13 images cannot be decoded: broken.png" in out
    assert "12 embeddings of 32 numbers" in out
    assert read_index(tmp_path / "e.parquet").labels.to_pylist() == [None] * FACES


def test_mistakes_of_embed(letters: Letters, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    good = {"--model": MODEL, "--images": letters.images, "--out": "e.parquet", "--storage": letters.storage}

    def error(**wrong: object) -> str:
        flags = good | {f"--{name}": value for name, value in wrong.items()}
        code, _, err = run_command(capsys, "embed", *[part for pair in flags.items() for part in pair])
        assert code == 2
        return err

    assert "--model: models:/leters@champion is not in sqlite" in error(model="models:/leters@champion")
    assert "it has models:/letters@champion" in error(model="models:/leters@champion")
    assert "--model: letters is no model: expected models:/NAME@champion" in error(model="letters")
    bare = error(model="models:/letters")
    assert "--model: models:/letters: @champion or /VERSION is missing; there are models:/letters@champion, mod" in bare
    assert "there is no MLflow store" in error(storage="elsewhere")
    picture = next(letters.images.glob("*/*.png"))
    assert f"--images: {picture} is a file: give the folder that it is in" in error(images=picture)
    assert "--images: there is no folder nowhere" in error(images="nowhere")
    assert "--images: no images below empty" in error(images="empty")
    assert "--out e.csv: give it a name that ends in .parquet" in error(out="e.csv")
    assert "--out no/e.parquet: no is no folder" in error(out="no/e.parquet")
    assert "whole number of at least 1" in error(**{"batch-size": 0})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty"]


@pytest.mark.parametrize("name", ["found.csv", "found.json"])
def test_a_full_disk_leaves_the_file_that_was_there(
    letters: Letters, capsys: pytest.CaptureFixture[str], small_disk: Path, name: str
) -> None:
    out, ballast = small_disk / name, small_disk / "ballast"
    arguments = ["search", "--index", letters.index, "--query", letters.index, "--out", out]
    assert run_command(capsys, *arguments, "--top", 1)[0] == 0
    before = out.read_bytes()
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(bytes(free - 2**16))
    code, _, err = run_command(capsys, *arguments, "--top", 20)
    assert code == 2
    assert f"--out {out}: cannot be written (No space left on device)" in err
    assert out.read_bytes() == before
    assert sorted(small_disk.iterdir()) == sorted([ballast, out])
    ballast.unlink()
    assert run_command(capsys, *arguments, "--top", 20)[0] == 0
    assert len(out.read_bytes()) > 2**17  # more than there was room for


def test_mistakes_of_search(letters: Letters, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"?")
    (tmp_path / "text.parquet").write_text("?")
    good = {"--index": letters.index, "--query": letters.index}

    def error(**wrong: object) -> str:
        flags = good | {f"--{name}": value for name, value in wrong.items()}
        code, _, err = run_command(capsys, "search", *[part for pair in flags.items() for part in pair])
        assert code == 2
        return err

    assert "--index: text.parquet cannot be read as Parquet" in error(index="text.parquet")
    assert "--index: there is no file none.parquet" in error(index="none.parquet")
    assert "--query nowhere.png: there is no such file" in error(query="nowhere.png")
    broken = error(query="broken.png", storage=letters.storage)
    assert "--query broken.png: cannot be decoded (not an image that Pillow can read)" in broken
    assert "--out r.txt: give it a name that ends in .csv or .json" in error(out="r.txt")
    assert "--out no/r.csv: cannot be written" in error(out="no/r.csv")
    assert "--model: the queries are embedded already" in error(model=MODEL)
    assert "there is no MLflow store" in error(query=next(letters.images.glob("*/*.png")))
