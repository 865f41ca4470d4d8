"""search_spaces/own_model.yaml as a user launches it, from another folder: code that travels, champion, changes."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mdr_tune.cli.launch import main
from mdr_tune.sweep.rerun import plan_rerun
from mdr_tune.tracking.rerun_record import read_original
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import look_for_code_in
from tests.cli.as_a_user import LAUNCH, run_python

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


def test_a_launch_of_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    champion = client.get_model_version_by_alias("own_model", "champion")
    assert champion.run_id is not None
    assert client.get_run(champion.run_id).data.params["loss.name"] == "own_model:HardPairs"
    (code / "own_model.py").write_text((code / "own_model.py").read_text() + "\n")
    moved = str(code.rename(tmp_path / "moved"))
    check_changes_are_told(client, champion.run_id, moved, tmp_path / "runs", capsys)


def check_changes_are_told(
    client: MlflowClient, run_id: str, code: str, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rerun and a resumed launch find the modules in the folder `code`, and say that they have changed."""
    original = read_original(client, run_id, "the store")
    with pytest.raises(UserError, match=r"your own modules were in .*code: there is no such folder; .*--code DIR"):
        plan_rerun(original, 1, "rerun")
    plan = plan_rerun(original, 1, "rerun", code)
    assert "your code: own_model.py changed since then" in plan.differences
    assert plan.code is not None
    assert plan.code.folder == code
    flags = ["--resume", "own_model", "--storage", str(storage), "--extend", "1", "--dry-run"]
    assert main(flags) == 2
    assert "your own modules were in" in capsys.readouterr().err
    assert main([*flags, "--code", code]) == 0
    assert "your code is not that of then: own_model.py changed" in capsys.readouterr().out
    look_for_code_in([])
