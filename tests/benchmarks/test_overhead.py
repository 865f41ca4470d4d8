"""benchmarks/trial_overhead.py: its arithmetic on made-up stamps, and the whole of it in its smallest form."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mdr_tune.cluster.machine import Machine
from mdr_tune.records.journal import read_events
from mdr_tune.records.trial_record import TrialRecord
from tests.waiting import HANG_S

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from overhead.launch import Launch, Row, account, median_launch
from overhead.trials import Side, Stopwatch, compare, make_plan, median_after_first, open_books

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "trial_overhead.py"


def record(name: str, weight: float, recall: float, epoch_s: float = 1.0) -> TrialRecord:
    history = [{"epoch": 1.0, "val/recall_at_1": recall, "time/epoch_s": epoch_s}]
    config = {"seed": 0, "mdr": {"weight": weight}}
    return TrialRecord(name, "mdr", 0, {"mdr.weight": weight}, config, history=history, outcome="completed")


def side(*records: TrialRecord) -> Side:
    """Trials that run from second 10 * i + 3 to 10 * i + 9, in a search that starts at 0."""
    started = {r.name: 10.0 * i + 3 for i, r in enumerate(records)}
    ended = {r.name: 10.0 * i + 9 for i, r in enumerate(records)}
    return Side(list(records), Stopwatch(started, ended), search_start=0.0)


def test_beyond_training():
    measured = side(record("a", 0.1, 50.0, epoch_s=1.0), record("b", 0.2, 60.0, epoch_s=2.0))
    assert measured.beyond_training_s() == [5.0, 4.0]
    assert measured.beyond_training_of_further_trials_s() == 8.0
    assert measured.beyond_training_of_search_s() == 8.0
    assert side(record("a", 0.1, 50.0)).beyond_training_of_further_trials_s() is None


def test_the_first_trial_warms_up_unless_it_is_the_only_one():
    assert median_after_first([9.0, 1.0, 3.0, 2.0]) == 2.0
    assert median_after_first([9.0]) == 9.0


def test_the_median_launch_is_one_of_them():
    launches = [Launch([Row("first epoch", at_s + 2, 2.0)], [], []) for at_s in (20.0, 30.0, 10.0)]
    assert median_launch(launches) is launches[0]


def test_a_failed_trial_is_no_measurement():
    failed = record("a", 0.1, 50.0)
    failed.outcome, failed.error = "failed", "boom"
    with pytest.raises(RuntimeError, match="boom"):
        side(failed)


def test_equal_configs_are_compared_and_others_left_out():
    lanes = side(record("x", 0.1, 50.0), record("y", 0.2, 60.0))
    same = compare(side(record("a", 0.1, 50.0), record("b", 0.3, 1.0)), lanes)
    assert (same.trials, same.metrics, same.differences) == (1, 1, [])
    assert "val/recall_at_1" in compare(side(record("a", 0.1, 50.5)), lanes).differences[0]


def test_both_sides_get_the_same_first_trials(tmp_path):
    few, many = (make_plan("a test", trials, tmp_path, Machine(2, 0, "a test")).arms[0] for trials in (2, 4))
    assert (few.trials, many.trials) == (2, 4)
    assert [point["mdr.weight"] for point in few.start_from] == [0.05, 0.1]
    assert many.start_from[:2] == few.start_from
    assert many.trial == few.trial


def test_the_books_are_kept_and_the_stopwatch_hears(tmp_path):
    stopwatch, trial = Stopwatch(), record("mdr-001", 0.1, 50.0)
    plan = make_plan("a test", 1, tmp_path, Machine(2, 0, "a test"))
    with open_books(plan, stopwatch) as (ledger, _):
        ledger.started(trial)
        ledger.ended(trial, "completed", None)
    assert stopwatch.started["mdr-001"] <= stopwatch.ended["mdr-001"]
    assert [(event["event"], event["name"]) for event in read_events(plan.folder)] == [
        ("started", "mdr-001"),
        ("ended", "mdr-001"),
    ]


def test_a_launch_is_accounted_for_without_a_gap():
    names = "import of launch.py,plan,import ray,ray.init,hub,lanes,tracker,data,import of the search,tuner"
    names += ",trial started,lease,join,join,command start,command epoch,epoch finished,trial ended,fit"
    names += ",test evaluation,champion,figures,lanes stopped,command returned"
    spans = [(name, 100.0 + i, 101.0 + i) for i, name in enumerate(names.split(","))]
    launch = account(spans, launched=99.0, left=130.0)
    rows = [*launch.to_first_epoch, *launch.after]
    assert sum(row.takes_s for row in rows) == pytest.approx(31.0)
    assert all(row.takes_s >= 0 for row in [*rows, *launch.beside])
    assert launch.first_epoch_starts_s == 16.0  # where the start command ended: 115 of the stamps, launched at 99


def test_the_probe_finds_what_it_stamps():
    code = "from overhead import probe; probe.watch(); probe.watch_tuner(); probe.watch_lanes()"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_the_whole_in_its_smallest_form(tmp_path):
    hidden = ("RAY_ADDRESS", "RAY_TMPDIR", "MLFLOW_TRACKING_URI")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [sys.executable, str(SCRIPT), "--trials-lanes", "2", "--trials-recipe", "1", "--rounds", "1"]
    with tempfile.TemporaryDirectory() as folder:  # its path is short, as Ray's sockets need it
        done = subprocess.run(
            [*command, "--json", str(tmp_path / "overhead.json")],
            env={**environment, "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        left = os.listdir(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert left == []
    found = json.loads((tmp_path / "overhead.json").read_text())
    documented, lanes, (launch,) = found["documented"], found["lanes"], found["launches"]
    assert found["documented_launches_s"][0] > 0
    assert (found["comparison"]["trials"], found["comparison"]["differences"]) == (1, [])
    assert documented["trials"] == lanes["trials"][:1]
    assert [trial["mdr"]["weight"] for trial in lanes["trials"]] == [0.05, 0.1]
    assert 0 < max(lanes["beyond_training_s"]) < min(documented["beyond_training_s"])
    assert lanes["beyond_training_of_further_trials_s"] > 0
    assert 0 < found["documented_start_s"]["train_loop"] < found["documented_start_s"]["first_step"]
    takes = {row["label"]: row["takes_s"] for rows in launch.values() for row in rows}
    instant = {label for label, takes_s in takes.items() if takes_s == 0}
    assert instant <= {"left of the check of the data set, beside Ray", "waiting for the lane's workers"}
