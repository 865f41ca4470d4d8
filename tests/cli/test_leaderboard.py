"""`mdr-tune leaderboard`: what it prints and writes, and the user's mistakes."""

import csv
import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from mlflow import MlflowClient
from rich.console import Console, RenderableType

from mdr_tune.cli.leaderboard_table import leaderboard_table
from mdr_tune.records.recorded_sweep import SweepRecords
from mdr_tune.report.leaderboard import leaderboard
from mdr_tune.tracking.reader import read_sweep, trial_run_id
from mdr_tune.tracking.tracker import Tracker
from tests.cli.recorded_sweep import record_sweep
from tests.cli.run_command import run_and_read
from tests.mlflow_globals import mlflow_globals_kept


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return record_sweep(tmp_path_factory.mktemp("leaderboard") / "runs", "cub_levels")


@pytest.fixture
def storage(tracker: Tracker) -> str:
    return str(Path(tracker.client.tracking_uri.removeprefix("sqlite:///")).parent)


@pytest.fixture
def sweep(tracker: Tracker) -> SweepRecords:
    return read_sweep(tracker.client, "cub_levels")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with mlflow_globals_kept():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(tmp_path)
        yield


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    return run_and_read(capsys, "leaderboard", *arguments)


def test_the_table(capsys: pytest.CaptureFixture[str], storage: str) -> None:
    code, output = run(capsys, "cub_levels", "--storage", storage, "--top", "3")
    lines = output.splitlines()
    assert code == 0
    assert lines[0].startswith("cub_levels: 11 trials, ")
    assert "1 diverged" in lines[0]
    assert lines[2].split()[:6] == ["rank", "trial", "arm", "outcome", "epochs", "Recall@1"]
    assert [line.split()[0] for line in lines[3:6]] == ["1", "2", "3"]
    assert "Trials had 2 to 4 epochs (1 stopped early)" in output
    assert "8 more trials." in output


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_row_is_broken(sweep: SweepRecords, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(leaderboard_table(sweep, leaderboard(sweep), width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    header = next(i for i, line in enumerate(lines) if line.startswith("rank"))
    names = [line for line in lines[header + 1 :] if "mdr-0" in line or "triplet-0" in line]
    assert len(names) == 11
    assert ("peak GiB" in lines[header]) == (width >= 120)
    assert ("No room for:" in "\n".join(lines)) == (width < 120)


def test_csv_json_and_parquet_have_the_same_rows(
    capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path
) -> None:
    as_json = json.loads(run(capsys, "cub_levels", "--storage", storage, "--format", "json")[1])
    as_csv = list(csv.DictReader(io.StringIO(run(capsys, "cub_levels", "--storage", storage, "--format", "csv")[1])))
    code, _ = run(capsys, "cub_levels", "--storage", storage, "--format", "parquet", "--out", "board.parquet")
    as_parquet = pyarrow.parquet.read_table(tmp_path / "board.parquet").to_pylist()
    assert code == 0
    assert as_parquet == as_json
    assert [row["trial"] for row in as_csv] == [row["trial"] for row in as_json]
    assert len(as_json) == 11
    best = as_json[0]
    assert (best["rank"], best["train/loss"], best["time/epoch_s"]) == (1, 0.25, 2.5)
    assert best["run_id"] == trial_run_id(MlflowClient(f"sqlite:///{storage}/mlflow.db"), "cub_levels", best["trial"])
    assert float(as_csv[0]["mdr.weight"]) == best["mdr.weight"]
    assert as_json[-1]["outcome"] == "diverged"
    assert as_json[-1]["best"] is None


def test_the_table_goes_to_a_file_too(capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path) -> None:
    code, output = run(capsys, "cub_levels", "--storage", storage, "--out", "board.txt")
    assert (code, output) == (0, "")
    assert (tmp_path / "board.txt").read_text().startswith("cub_levels: 11 trials")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cub_level"], "no sweep 'cub_level' in the MLflow store. Did you mean 'cub_levels'?"),
        (["cub_levels", "--sort", "val/recal_at_1"], "Did you mean 'val/recall_at_1'?"),
        (["cub_levels", "--format", "parquet"], "name a file with --out FILE"),
        (["cub_levels", "--watch", "--format", "csv"], "leave --format and --out out"),
        (["cub_levels", "--top", "0"], "expected a whole number of at least 1"),
        (["cub_levels", "--out", "/dev/null/x"], "cannot be written"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], storage: str, arguments: list[str], message: str) -> None:
    code, output = run(capsys, *arguments, "--storage", storage)
    assert code == 2
    assert message in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cub_level", "mdr-001"], "no sweep 'cub_level' in the MLflow store. Did you mean 'cub_levels'?"),
        (["cub_levels", "mdr-01"], "has no trial 'mdr-01'. Did you mean 'mdr-001'? It has mdr-001, mdr-002, "),
        (["cub_levels", "mdr-001", "mdr-002"], "name a sweep and one trial of it, or the id of the trial's run"),
    ],
)
def test_a_trial_is_named_wrongly_in_a_rerun(
    capsys: pytest.CaptureFixture[str], storage: str, words: list[str], message: str
) -> None:
    code, output = run_and_read(capsys, "rerun", *words, "--storage", storage)
    assert (code, message in output) == (2, True), output


def test_a_store_that_is_not_there_is_not_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, output = run(capsys, "cub_levels")
    assert code == 2
    assert "there is no MLflow store" in output
    assert list(tmp_path.iterdir()) == []
    code, output = run(capsys, "cub_levels", "--tracking-uri", "http://127.0.0.1:9")
    assert code == 2
    assert "does not answer" in output


def test_watching_ends_with_the_sweep_though_the_store_was_gone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdr_tune.cli.leaderboard.REDRAW_EVERY_S", 0.2)
    tracker = record_sweep(tmp_path / "runs", "watched", trials=2, status="RUNNING")
    store, moved = tmp_path / "runs" / "mlflow.db", tmp_path / "moved.db"

    def end() -> None:
        time.sleep(0.5)
        store.rename(moved)
        time.sleep(0.5)
        moved.rename(store)
        tracker.close("FINISHED")

    ending = threading.Thread(target=end)
    ending.start()
    code, output = run(capsys, "watched", "--watch")
    ending.join()
    assert code == 0
    assert "read at" in output
    assert "The sweep ended: FINISHED." in output


def test_ctrl_c_ends_watching(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdr_tune.cli.leaderboard.REDRAW_EVERY_S", 0.05)
    record_sweep(tmp_path / "runs", "watched", trials=2, status="RUNNING")
    drawn: list[int] = []

    def draw(*arguments: Any) -> RenderableType:
        drawn.append(len(drawn))
        if len(drawn) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return leaderboard_table(*arguments)

    monkeypatch.setattr("mdr_tune.cli.leaderboard.leaderboard_table", draw)
    code, output = run(capsys, "watched", "--watch")
    assert (code, len(drawn)) == (0, 3)
    assert "ended" not in output


def test_a_sweep_all_of_whose_trials_were_deleted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tracker = record_sweep(tmp_path / "runs", "letters", trials=1)
    for run in tracker.client.search_runs([tracker.experiment_id]):
        if run.info.run_id != tracker.parent_run_id:
            tracker.client.delete_run(run.info.run_id)
    code, output = run_and_read(capsys, "leaderboard", "letters", "--storage", "runs")
    assert code == 0
    first, second, third = (line for line in output.splitlines() if line)
    assert (first, second) == ("letters: 0 trials", "No trial is recorded.")
    assert third.startswith("Left out, since deleted in MLflow: mdr-001, triplet-001. To restore: for run in ")
    assert run_and_read(capsys, "leaderboard", "letters", "--storage", "runs", "--format", "csv") == (0, "")
