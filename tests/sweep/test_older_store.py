"""A storage that commit 1c01d8f wrote: `done` ended, `cut` was interrupted after its first epoch of four.

Both have two steps an epoch of a random search of `mdr.weight` on the letters. Its folder was /store; the reports are
left out. MLflow 3.17 made its tables, so that an older MLflow cannot read them.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mdr_tune.cli import launch
from mdr_tune.records.journal import read_past
from mdr_tune.tracking.mlflow_database import schema_versions
from tests.cli.run_command import on_shared_ray, run_command
from tests.mlflow_globals import mlflow_globals_kept

STORE = Path(__file__).parent / "fixtures" / "store_1c01d8f.tar.xz"
TABLES = "dc11669786a5"
TRIAL_OF_DONE = "276f839509004047aa900e70922642d9"
SEEN = "val/recall_at_1"


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if TABLES not in schema_versions()[0]:
        pytest.skip("the store is one of MLflow 3.17")
    with tarfile.open(STORE) as archive:
        archive.extractall(tmp_path)
    with mlflow_globals_kept():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path / "runs"


def test_it_is_read(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, table, said = run_command(capsys, "leaderboard", "done", "--storage", storage)
    assert code == 0, said
    assert table.splitlines()[-1].split()[:7] == ["1", "mdr-001", "completed", "1", "1.09", "1", "0.53"]
    out = storage / "report"
    assert run_command(capsys, "report", "done", "--storage", storage, "--out", out, "--no-log")[0] == 0
    assert "1.09" in (out / "report.md").read_text()


def test_its_model_embeds(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures, out = storage / "pictures", storage / "pictures.parquet"
    pictures.mkdir()
    Image.new("L", (32, 32)).save(pictures / "black.png")
    of_the_champion = ("--model", "models:/done@champion", "--storage", storage)
    code, _, said = run_command(capsys, "embed", "--images", pictures, "--out", out, *of_the_champion)
    assert (code, pq.read_table(out).num_rows) == (0, 1), said


@pytest.mark.ray
def test_a_launch_of_it_is_resumed(hub: Any, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder,) = (storage / "sweeps" / "cut").iterdir()
    before = (folder / "journal.jsonl").read_text()
    with on_shared_ray(storage.parent):
        code = launch.main(["--resume", "cut"])
    said = "".join(capsys.readouterr())
    assert code == 0, said
    assert (folder / "journal.jsonl").read_text().startswith(before)
    first, second = read_past(folder).records
    assert [(trial.outcome, trial.epochs) for trial in (first, second)] == [("completed", 2), ("completed", 2)]
    recorded = next(json.loads(line) for line in before.splitlines() if json.loads(line)["event"] == "epoch")
    assert first.history[0][SEEN] == recorded["metrics"][SEEN]
    assert "goes on after epoch 1" in said


@pytest.mark.ray
def test_a_trial_of_it_is_rerun(hub: Any, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with on_shared_ray(storage.parent):
        code, output, errors = run_command(capsys, "rerun", TRIAL_OF_DONE, "--storage", storage)
    assert code in (0, 1), errors  # 1: another processor rounds otherwise
    assert "commit: 1c01d8f" in output
    assert "Recorded as run" in output
