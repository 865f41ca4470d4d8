"""`mdr-tune importance`: numbers, figures, where they go, and the user's mistakes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.tracking.tracker import Tracker
from tests.cli.recorded_sweep import record_sweep
from tests.cli.run_command import run_and_read
from tests.mlflow_globals import mlflow_globals_kept

FIGURES = ["history", "importance", "parallel_coordinates", "pareto_front", "slices"]


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return record_sweep(tmp_path_factory.mktemp("importance") / "runs", "cub_levels", trials=12)


@pytest.fixture
def storage(tracker: Tracker) -> str:
    return str(Path(tracker.client.tracking_uri.removeprefix("sqlite:///")).parent)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with mlflow_globals_kept():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(tmp_path)
        yield


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    return run_and_read(capsys, "importance", *arguments)


def test_numbers_and_figures(
    capsys: pytest.CaptureFixture[str], tracker: Tracker, storage: str, tmp_path: Path
) -> None:
    code, output = run(capsys, "cub_levels", "--storage", storage)
    lines = output.splitlines()
    assert code == 0
    assert lines[0] == "cub_levels: mdr: best within 4 epochs, 10 trials"  # not the diverged, nor the stopped one
    assert lines[1] == "Share of the variation of Recall@1 (PED-ANOVA, best quarter of the trials):"
    assert lines[2].split()[0] == "weight"
    assert sorted(file.stem for file in (tmp_path / "figures_cub_levels").iterdir()) == FIGURES
    logged = tracker.client.list_artifacts(tracker.parent_run_id, "figures")
    assert sorted(Path(file.path).stem for file in logged) == FIGURES


def test_another_budget_and_folder(capsys: pytest.CaptureFixture[str], storage: str, tmp_path: Path) -> None:
    code, output = run(capsys, "cub_levels", "--storage", storage, "--epochs", "2", "--out", "here")
    assert code == 0
    assert output.startswith("cub_levels: mdr: best within 2 of 4 epochs, 11 trials")
    assert sorted(file.stem for file in (tmp_path / "here").iterdir()) == FIGURES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arm", "contrastive"], "--arm contrastive: cub_levels has mdr, triplet."),
        (["--arm", "Triplets"], "--arm Triplets: cub_levels has mdr, triplet. Did you mean 'triplet'?"),
        (["--arm", "triplet"], "1 trial of the search triplet had an epoch or more, 8 are needed: search more trials"),
        (["--epochs", "5"], "0 trials of the search mdr had 5 epochs or more, 8 are needed: at least 8 had 4 epochs"),
        (["--out", "/dev/null/x"], "cannot be written"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], storage: str, arguments: list[str], message: str) -> None:
    code, output = run(capsys, "cub_levels", "--storage", storage, *arguments)
    assert code == 2
    assert message in output
