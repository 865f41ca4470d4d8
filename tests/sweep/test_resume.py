"""What --resume finds in the storage, and what it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.lanes.resources import LaneResources
from mdr_tune.sweep.journal import Journal, Past
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.resume import PLAN, check_can_extend, check_not_running, find_launch, save_plan, with_overrides
from mdr_tune.sweep.stores import Stores
from tests.sweep.make import make_sweep

LANES = LaneResources(1, 2, 1, 0, 8, 120.0, 600.0)


def make_plan(storage: Path, launch: str, sweep: SweepConfig | None = None) -> Plan:
    stores = Stores(storage, "sqlite:////store/mlflow.db")
    sweep = sweep or make_sweep()
    return Plan(sweep, Path("sweep.yaml"), "name: letters\n", (), stores, Machine(2, 0, "here"), LANES, None, launch)


def store(storage: Path, launch: str, sweep: SweepConfig | None = None) -> Path:
    plan = make_plan(storage, launch, sweep)
    plan.folder.mkdir(parents=True)
    save_plan(plan)
    return plan.folder


def find(storage: Path, name: str = "letters") -> Any:
    return find_launch(Stores(storage, "sqlite:////elsewhere.db"), name)


def test_the_newest_launch_is_found_as_it_was(tmp_path: Path) -> None:
    store(tmp_path, "2026-01-01")
    space = {"mdr.levels": {"count": [2, 3], "spread": {"uniform": [1, 5]}}, "loss.margin": {"uniform": [0.1, 0.4]}}
    sweep = make_sweep(space=space, search={"stop": {"time": "2h"}, "scheduler": "pbt"}, baselines=["triplet"])
    newest = store(tmp_path, "2026-02-01", sweep)
    found = find(tmp_path)
    assert (found.folder, found.launch, found.sweep) == (newest, "2026-02-01", sweep)
    assert (found.text, found.tracking_uri) == ("name: letters\n", "sqlite:////store/mlflow.db")


@pytest.mark.parametrize("name", ["leters", "", "other", "../letters"])
def test_a_sweep_that_is_not_there(tmp_path: Path, name: str) -> None:
    store(tmp_path, "2026-01-01")
    with pytest.raises(UserError, match="letters"):
        find(tmp_path, name)


def test_a_plan_of_another_version_or_torn_is_refused(tmp_path: Path) -> None:
    folder = store(tmp_path, "2026-01-01")
    content = json.loads((folder / PLAN).read_text())
    (folder / PLAN).write_text(json.dumps({**content, "version": 9}))
    with pytest.raises(UserError, match="version 9"):
        find(tmp_path)
    (folder / PLAN).write_text("{")
    with pytest.raises(UserError, match=r"plan.json: cannot be read"):
        find(tmp_path)


def test_what_the_trials_depend_on_cannot_be_changed(tmp_path: Path) -> None:
    store(tmp_path, "2026-01-01")
    stored = find(tmp_path)
    changed = with_overrides(stored, ["search.stop.time=3h", "resources.lanes=2"])
    assert (changed.search.stop.time, changed.resources.lanes) == (10800.0, 2)
    for text in ("trial.epochs=9", "search.seed=1", "resources.workers_per_trial=1", "search.stopp.time=1h"):
        with pytest.raises(UserError, match="keeps its trials as they are"):
            with_overrides(stored, [text])
    with pytest.raises(UserError, match=r"search.stop.time.*expected a time"):
        with_overrides(stored, ["search.stop.time=soon"])


def test_a_launch_that_is_running_is_left_alone(tmp_path: Path) -> None:
    folder = store(tmp_path, "2026-01-01")
    check_not_running(folder)
    journal = Journal(folder, print)
    with pytest.raises(UserError, match="is running"):
        check_not_running(folder)
    journal.close()
    check_not_running(folder)


@pytest.mark.parametrize(
    ("changes", "trials", "why"),
    [
        ({}, 0, "1 or more"),
        ({"search": {"sampler": "grid"}, "space": {"mdr.weight": [0.1, 0.2]}}, 3, "grid"),
        ({"search": {"scheduler": "pbt"}}, 3, "population"),
        ({"space": {}}, 3, "nothing is searched"),
    ],
)
def test_what_cannot_be_extended(changes: dict[str, Any], trials: int, why: str) -> None:
    with pytest.raises(UserError, match=why):
        check_can_extend(make_sweep(**changes), trials)


def test_extending_adds_to_each_arm_that_is_searched(tmp_path: Path) -> None:
    sweep = make_sweep(search={"trials": 5}, baselines=["triplet"])  # nothing of the space is left for triplet
    plan = make_plan(tmp_path, "x", sweep)
    assert [arm.trials for arm in plan.arms] == [5, 1]
    assert plan.trials_before_extensions(plan.arms[0]) == []
    extended = dataclasses.replace(plan, past=Past(extensions=[2]), extend_by=3)
    assert [arm.trials for arm in extended.arms] == [10, 1]
    assert extended.trials_before_extensions(extended.arms[0]) == [5, 7]
