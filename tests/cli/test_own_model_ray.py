"""search_spaces/own_model.yaml as a user launches it, from another folder: code that travels, champion, rerun."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.as_a_user import LAUNCH, MDR_TUNE, run_python

pytestmark = pytest.mark.ray

SPACES = Path(__file__).parents[2] / "search_spaces"
SMALL = {
    "trial.epochs": "1",
    "trial.iterations_per_epoch": "2",
    "trial.batch": "{size: 16, images_per_class: 4}",
    "trial.backbone.width": "4",
    "search.trials": "1",
    "search.scheduler": "none",
    "baselines": "[]",
    "resources": "{workers_per_trial: 2, lanes: 1}",
}


def test_a_launch_of_own_code_and_its_rerun(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(SPACES / "own_model.py", code)
    shutil.copy(SPACES / "own_model.yaml", tmp_path)
    flags = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    done = run_python(tmp_path, LAUNCH, "--space", "own_model.yaml", "--storage", "runs", "--code", "code", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backbone own_model:make_encoder gives maps (n, 8, 8, 8), which are averaged" in done.stdout
    (launch,) = (tmp_path / "runs/sweeps/own_model").iterdir()
    tracked = next(json.loads(line) for line in (launch / "journal.jsonl").open() if '"tracked"' in line)
    assert list(tracked["code"]["files"]) == ["own_model.py"]
    assert json.loads((launch / "plan.json").read_text())["sweep"]["code"] == str(code)

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    champion = client.get_model_version_by_alias("own_model", "champion")
    assert champion.run_id is not None
    assert client.get_run(champion.run_id).data.params["loss.name"] == "own_model:HardPairs"
    (code / "own_model.py").write_text((code / "own_model.py").read_text() + "\n")
    moved = code.rename(tmp_path / "moved")
    again = run_python(tmp_path, *MDR_TUNE, "rerun", champion.run_id, "--storage", "runs", "--code", str(moved))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "your code: own_model.py changed since then" in again.stdout
