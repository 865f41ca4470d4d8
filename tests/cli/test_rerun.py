"""`mdr-tune rerun` as a user types it: real lanes, a trial that the real tracker recorded, equal to the bit or not."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cli.main import main
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.provenance import repeat_info
from mdr_tune.records.trial_record import TrialRecord
from tests.waiting import HANG_S, wait_for

ROOT = Path(__file__).parents[2]
MARK = "MDR_TUNE_TEST_MARK"
TRIAL = {
    "batch": {"size": 16, "images_per_class": 4},
    "embedding": {"size": 8},
    "epochs": 4,
    "iterations_per_epoch": 3,
    "seed": 3,
}


def record_and_rerun(folder: Path) -> None:
    """Record trials and run two of them again, in one Ray session; exit codes and what was printed go into files.

    Runs in a process of its own, so that no lane of another test has the CPUs.
    """
    from mdr_tune.sweep.ray_session import ray_session

    with ray_session(None, num_cpus=2):
        ids = record_trials(folder)
        (folder / "ids.json").write_text(json.dumps(ids))
        codes = {}
        for name, more in (("mdr-001", []), ("mdr-002", ["--epochs", "2"])):
            with (folder / f"{name}.txt").open("w") as file, contextlib.redirect_stdout(file):
                codes[name] = main(["rerun", ids[name], "--tracking-uri", f"sqlite:///{folder}/mlflow.db", *more])
    (folder / "codes.json").write_text(json.dumps(codes))


def record_trials(folder: Path) -> dict[str, str]:
    """Train three epochs of one trial on a lane and record it: as it was, with one bit changed, and as one that lasts.

    Returns the ids of their runs.
    """
    import ray
    from mlflow import MlflowClient

    from mdr_tune.cluster.machine import this_machine
    from mdr_tune.config.sweep import SweepConfig
    from mdr_tune.lanes.hub import unwrap
    from mdr_tune.lanes.lane import Lanes
    from mdr_tune.sweep.lane_layout import fit_lanes
    from mdr_tune.tracking.experiment import open_experiment
    from mdr_tune.tracking.tracker import Tracker

    resources = {"workers_per_trial": 2, "lanes": 1}
    lane = fit_lanes(SweepConfig.model_validate({"name": "x", "resources": resources}), this_machine())
    config = TrialConfig.model_validate(TRIAL).model_dump()
    lanes = Lanes(lane, "recording", folder / "lanes")

    def submit(kind: str, payload: dict[str, Any]) -> Any:
        return unwrap(ray.get(lanes.hub.submit.remote("trial", kind, payload)))

    unwrap(ray.get(lanes.hub.lease.remote("trial")))
    submit("start", {"trial": config, "checkpoint": None})
    history = [submit("epoch", {}) for _ in range(3)]
    lanes.stop()
    measured = [{k: float(v) for k, v in entry.items() if k == "epoch" or "/" in k} for entry in history]
    disturbed = [dict(entry) for entry in measured]
    disturbed[1]["train/loss"] = math.nextafter(disturbed[1]["train/loss"], 0)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    tracker = Tracker(
        client,
        open_experiment(client, "again", folder / "mlartifacts"),
        run_name="sweep 1",
        metric="val/recall_at_1",
        params={},
        files={},
        checkpoints="best",
        repeat=lambda record: repeat_info(record.config, 2, 1, "launch.py"),
    )
    ids = {}
    endless = {**config, "iterations_per_epoch": 100_000}
    trials = {"mdr-001": (config, measured), "mdr-002": (config, disturbed), "mdr-003": (endless, measured)}
    for name, (trial, epochs) in trials.items():
        record = TrialRecord(name, "mdr", 0, {}, trial, device="cpu")
        tracker.trial_started(record)
        for epoch in epochs:
            record.history.append(epoch)
            tracker.epoch_finished(record)
        record.outcome = "stopped_early"
        tracker.trial_ended(record)
        tracker.flush()
        ids[name] = tracker.run_id(record)
    tracker.close("FINISHED")
    return ids


def environment(mark: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return {**kept, MARK: mark}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, glyph_cache: Path) -> tuple[Path, dict[str, str]]:
    """The folder of `record_and_rerun`, and the ids of the recorded trials by name."""
    folder = tmp_path_factory.mktemp("rerun")
    code = "import sys, pathlib; from tests.cli import test_rerun as t; t.record_and_rerun(pathlib.Path(sys.argv[1]))"
    mark = uuid.uuid4().hex
    subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, env=environment(mark), timeout=HANG_S, check=True)
    check_nothing_left(mark)
    return folder, json.loads((folder / "ids.json").read_text())


def outcome(folder: Path, name: str) -> tuple[int, list[str]]:
    """Return the exit code of a rerun and the lines that it printed."""
    return json.loads((folder / "codes.json").read_text())[name], (folder / f"{name}.txt").read_text().splitlines()


def still_running(mark: str) -> list[str]:
    """Return the commands of processes that have the mark in their environment: all that the command started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (OSError, ProcessLookupError):
            continue
    return found


def check_nothing_left(mark: str) -> None:
    wait_for(lambda: not still_running(mark), "the end of all that was started")


def rerun_of(folder: Path, run_id: str) -> Any:
    """Return the run that repeats `run_id`."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_run(run_id).info.experiment_id
    (run,) = client.search_runs([experiment], f"tags.rerun_of = '{run_id}'")
    return run


@pytest.mark.ray
@pytest.mark.slow  # test_launch_e2e.py repeats a trial
def test_it_is_equal_to_the_bit(recorded: tuple[Path, dict[str, str]]) -> None:
    folder, ids = recorded
    code, lines = outcome(folder, "mdr-001")
    assert code == 0
    assert lines[0] == f"mdr-001 (run {ids['mdr-001']}): 3 epochs again on 2 workers, cpu, seed 3"
    assert "epoch 3 of 3: equal so far" in lines
    assert lines[-2].startswith("Equal to the bit: ")
    run = rerun_of(folder, ids["mdr-001"])
    assert lines[-1] == f"Recorded as run {run.info.run_id}."
    assert (run.info.status, run.data.tags["rerun_equal"]) == ("FINISHED", "true")
    assert "mlflow.parentRunId" not in run.data.tags


@pytest.mark.ray
@pytest.mark.slow  # test_launch_e2e.py repeats a trial
def test_one_bit_more_or_less_is_found_and_shown(recorded: tuple[Path, dict[str, str]]) -> None:
    folder, ids = recorded
    code, lines = outcome(folder, "mdr-002")
    assert code == 1
    assert "2 of 3 epochs again" in lines[0]
    assert "epoch 1 of 2: equal so far" in lines
    assert "epoch 2 of 2: different" in lines
    assert any(line.startswith("Different from epoch 2 on, the most in train/loss: by ") for line in lines)
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("metric ")) + 1 :]
    assert table[0].split()[:2] == ["train/loss", "2"]
    assert table[1].startswith("Recorded as run ")  # no other metric differs
    assert rerun_of(folder, ids["mdr-002"]).data.tags["rerun_equal"] == "false"


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_ends_it_in_the_middle_of_an_epoch(recorded: tuple[Path, dict[str, str]]) -> None:
    folder, ids = recorded
    mark = uuid.uuid4().hex
    program = "import sys; from mdr_tune.cli.main import main; sys.exit(main())"
    arguments = ["rerun", ids["mdr-003"], "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**environment(mark), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any("the workers of 1 lane are up" in line for line in process.stdout)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANG_S)
    assert process.returncode == 1
    assert errors == "interrupted\n"
    check_nothing_left(mark)
    assert rerun_of(folder, ids["mdr-003"]).info.status == "KILLED"


def test_a_store_that_is_not_there_is_refused_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], environment_put_back: None
) -> None:
    uri = f"sqlite:///{tmp_path}/none.db"
    assert main(["rerun", "0" * 32, "--tracking-uri", uri]) == 2
    assert capsys.readouterr().err.startswith(f"error: there is no MLflow store {tmp_path}/none.db: ")
    assert not list(tmp_path.iterdir())
