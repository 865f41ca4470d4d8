"""What --resume finds in the storage, and what it refuses."""

import dataclasses
import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.journal import FILE as JOURNAL
from mdr_tune.records.journal import Journal, Past
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stored_launches import (
    PLAN,
    STUDIES,
    another_runs,
    check_can_extend,
    check_not_running,
    check_study,
    choose_store,
    find_launch,
    save_plan,
    with_overrides,
)
from mdr_tune.sweep.stores import Stores
from mdr_tune.util.errors import UserError
from mdr_tune.util.sqlite_address import sqlite_url
from tests.sweep.make import make_sweep

LANES = LaneResources(1, 2, 1, 0, 8, 120.0, 600.0)


def make_plan(
    storage: Path, launch: str, sweep: SweepConfig | None = None, tracking_uri: str = "sqlite:////store/mlflow.db"
) -> Plan:
    stores = Stores(storage, tracking_uri)
    sweep = sweep or make_sweep()
    return Plan(sweep, Path("sweep.yaml"), "name: letters\n", (), stores, Machine(2, 0, "here"), LANES, None, launch)


def store(storage: Path, launch: str, sweep: SweepConfig | None = None, **changes: str) -> Path:
    plan = make_plan(storage, launch, sweep, **changes)
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


def test_a_launch_that_lost_its_plan_is_not_passed_over(tmp_path: Path) -> None:
    store(tmp_path, "2026-01-01")
    newest = store(tmp_path, "2026-02-01")
    (newest / PLAN).unlink()
    (newest / JOURNAL).touch()  # killed before it wrote its plan
    assert find(tmp_path).launch == "2026-01-01"
    (newest / JOURNAL).write_text('{"event": "session", "time": 1.0}\n')
    with pytest.raises(UserError, match=r"02-01/plan.json: cannot be read \(No such file .* restore it"):
        find(tmp_path)


def test_a_plan_of_another_version_or_torn_is_refused(tmp_path: Path) -> None:
    folder = store(tmp_path, "2026-01-01")
    content = json.loads((folder / PLAN).read_text())
    (folder / PLAN).write_text(json.dumps({**content, "version": 9}))
    with pytest.raises(UserError, match="version 9"):
        find(tmp_path)
    (folder / PLAN).write_text("{")
    with pytest.raises(UserError, match=r"plan.json: cannot be read"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ({"space": {"[None]": {"uniform": [0.1, 1]}}}, r"space.[None]: is no key of a trial."),
        (
            {"space": {"mdr.weight": {"uniform": [-1, 1]}}},
            "space.mdr.weight: must be greater than or equal to 0, got -1",
        ),
        (
            {"trial": {"epochs": "x"}, "name": 3},
            'name: expected text, got 3: put it in quotes: "3"; trial.epochs: expected a whole number',
        ),
        ({"search": None}, "search: expected a mapping, got nothing (null)"),
        ("tpe", "sweep: expected a mapping, got 'tpe' (text)"),
    ],
)
def test_a_plan_whose_sweep_is_damaged_is_refused(tmp_path: Path, damage: Any, problem: str) -> None:
    file = store(tmp_path, "2026-01-01") / PLAN
    content = json.loads(file.read_text())
    sweep = {**content["sweep"], **damage} if isinstance(damage, dict) else damage
    file.write_text(json.dumps({**content, "sweep": sweep}))
    with pytest.raises(UserError) as error:
        find(tmp_path)
    assert str(error.value).startswith(f"{file}: cannot be read ({problem}")


@pytest.mark.parametrize("place", ["/a\0b", "/\ud800"])
def test_a_plan_whose_storage_is_no_path_is_refused(tmp_path: Path, place: str) -> None:
    file = store(tmp_path, "2026-01-01") / PLAN
    file.write_text(json.dumps({**json.loads(file.read_text()), "storage": place}))
    with pytest.raises(UserError, match=r"plan.json: cannot be read"):
        find(tmp_path)


def test_a_storage_that_cannot_be_is_one_that_was_moved(tmp_path: Path) -> None:
    file = store(tmp_path, "2026-01-01", tracking_uri="http://127.0.0.1:5000") / PLAN
    file.write_text(json.dumps({**json.loads(file.read_text()), "storage": "/" + "9" * 5000}))
    assert choose_store(find(tmp_path), str(tmp_path), None).storage == tmp_path


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
    another = folder.with_name("2026-02-01")
    check_not_running(folder)
    journal = Journal(folder, print)
    with pytest.raises(UserError, match="is running"):
        check_not_running(folder)
    assert another_runs(another)
    assert not another_runs(folder)
    journal.close()
    check_not_running(folder)
    assert not another_runs(another)


@pytest.mark.parametrize(
    ("changes", "trials", "why"),
    [
        ({}, 0, "1 or more"),
        ({}, 10**17, "a search has at most 1,000,000 trials"),
        ({"search": {"sampler": "grid"}, "space": {"mdr.weight": [0.1, 0.2]}}, 3, "grid"),
        ({"search": {"scheduler": "pbt"}}, 3, "population"),
        ({"space": {}}, 3, "nothing is searched"),
        ({"space": {"mdr.weight": [0.1, 0.2]}}, 3, r"all configurations of the space \(mdr 2\)"),
    ],
)
def test_what_cannot_be_extended(changes: dict[str, Any], trials: int, why: str) -> None:
    with pytest.raises(UserError, match=why):
        check_can_extend(make_sweep(**changes), trials, Past(), legacy_draws=False)


def test_extending_adds_to_each_arm_that_is_searched(tmp_path: Path) -> None:
    sweep = make_sweep(search={"trials": 5}, baselines=["triplet"])  # nothing of the space is left for triplet
    plan = make_plan(tmp_path, "x", sweep)
    assert [arm.trials for arm in plan.arms] == [5, 1]
    assert plan.trials_before_extensions(plan.arms[0]) == []
    extended = dataclasses.replace(plan, past=Past(extensions=[2]), extend_by=3)
    assert [arm.trials for arm in extended.arms] == [10, 1]
    assert extended.trials_before_extensions(extended.arms[0]) == [5, 7]


def test_an_extension_that_never_began_is_replaced_not_added_to(tmp_path: Path) -> None:
    """A launch that crashes after it has noted its extension, and is tried again, does not add its trials twice."""
    plan = make_plan(tmp_path, "x", make_sweep(search={"trials": 5}))
    crashed = dataclasses.replace(plan, past=Past(extensions=[2, 1], has_open_extension=True))
    assert [arm.trials for arm in crashed.arms] == [8]
    again = dataclasses.replace(crashed, extend_by=1)
    assert [arm.trials for arm in again.arms] == [8]
    assert again.trials_before_extensions(again.arms[0]) == [5, 7]


@pytest.mark.parametrize("how", ["moved", "copied"])
@pytest.mark.parametrize("database", ["mlflow.db", "deeper/of%2Fours.db"])
def test_a_store_in_the_storage_goes_with_it(tmp_path: Path, how: str, database: str) -> None:
    before, now = tmp_path / "runs", tmp_path / "elsewhere"
    store(before, "2026-01-01", tracking_uri=sqlite_url(before / database, "timeout=30"))
    if how == "moved":
        before.rename(now)
    else:
        shutil.copytree(before, now)
    expected = Stores(now, sqlite_url(now / database, "timeout=30"))
    assert choose_store(find(now), str(now), None) == expected
    given = choose_store(find(now), str(now), "http://127.0.0.1:5000")
    assert given == Stores(now, "http://127.0.0.1:5000")


def test_a_store_elsewhere_stays_where_it_is(tmp_path: Path) -> None:
    before, now, uri = tmp_path / "runs", tmp_path / "elsewhere", sqlite_url(tmp_path / "databases" / "mlflow.db")
    store(before, "2026-01-01", tracking_uri=uri)
    assert choose_store(find(before), str(before), None) == Stores(before, uri)
    before.rename(now)
    assert choose_store(find(now), str(now), None) == Stores(now, uri)
    now.rename(before)
    (tmp_path / "link").symlink_to(before)
    assert choose_store(find(tmp_path / "link"), str(tmp_path / "link"), None).tracking_uri == uri


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "sqlite:////databases/mlflow.db"])
def test_a_copy_does_not_write_into_the_runs_of_its_original(tmp_path: Path, uri: str) -> None:
    folder = store(tmp_path / "runs", "2026-01-01", tracking_uri=uri)
    Journal(folder, print).close()
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    with pytest.raises(UserError, match=rf"is a copy of {folder}, and both have their runs in {uri}"):
        choose_store(find(tmp_path / "copy"), str(tmp_path / "copy"), None)


def test_a_launch_of_an_older_version_does_not_say_its_storage(tmp_path: Path) -> None:
    before, now = tmp_path / "runs", tmp_path / "elsewhere"
    folder = store(before, "2026-01-01", tracking_uri=sqlite_url(before / "mlflow.db"))
    content = json.loads((folder / PLAN).read_text())
    del content["storage"]
    (folder / PLAN).write_text(json.dumps(content))
    (before / "mlflow.db").touch()
    assert choose_store(find(before), str(before), None).database == before / "mlflow.db"
    before.rename(now)
    assert choose_store(find(now), str(now), None).database == now / "mlflow.db"


def test_studies_that_optuna_cannot_open(tmp_path: Path) -> None:
    check_study(tmp_path)
    RDBStorage(sqlite_url(tmp_path / STUDIES))
    check_study(tmp_path)
    with sqlite3.connect(tmp_path / STUDIES) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.a'")
    with pytest.raises(UserError, match=r"optuna.db: Optuna cannot open it .*it is made again from the journal"):
        check_study(tmp_path)
    (tmp_path / STUDIES).write_text("no database, but long enough to be taken for its header" * 9)
    with pytest.raises(UserError, match=r"cannot open it \(file is not a database\); move it away"):
        check_study(tmp_path)


def problem_of_study(folder: Path) -> str | None:
    try:
        check_study(folder)
    except UserError as error:
        return str(error)
    return None


def test_studies_of_which_a_part_was_overwritten_or_lost(tmp_path: Path) -> None:
    """Whatever is overwritten: Optuna reads it, or the message names the file."""
    RDBStorage(sqlite_url(tmp_path / STUDIES))
    whole, chance, refused = (tmp_path / STUDIES).read_bytes(), random.Random(0), []
    damaged = [whole[: len(whole) // 2], whole[:50], whole[:5120] + chance.randbytes(5120) + whole[10240:]]
    for size in [8, 5120] * 8:
        start = chance.randrange(4096, len(whole) - size)
        damaged.append(whole[:start] + chance.randbytes(size) + whole[start + size :])
    for number, data in enumerate(damaged):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / STUDIES).write_bytes(data)
        if (text := problem_of_study(folder)) is not None:
            refused.append(number)
            assert f"{folder / STUDIES}: Optuna cannot open it (" in text
            assert len(text.splitlines()) == 1
    assert refused[:3] == [0, 1, 2]


def test_an_extension_goes_no_further_than_the_configurations(tmp_path: Path) -> None:
    space = {"mdr.weight": [0.1, 0.2, 0.3], "loss.margin": [0.1, 0.2]}
    sweep = make_sweep(search={"trials": 3}, space=space, baselines=["triplet"])
    check_can_extend(sweep, 9, Past(), legacy_draws=False)
    extended = dataclasses.replace(make_plan(tmp_path, "x", sweep), past=Past(extensions=[1]), extend_by=9)
    assert [arm.trials for arm in extended.arms] == [6, 2]
    assert [extended.trials_before_extensions(arm) for arm in extended.arms] == [[3, 4], [2, 2]]
    with pytest.raises(UserError, match=r"nothing to add"):
        check_can_extend(sweep, 1, Past(extensions=[1, 9]), legacy_draws=False)
    check_can_extend(sweep, 1, Past(extensions=[1, 9]), legacy_draws=True)


def test_a_launch_of_version_1_keeps_its_draws(tmp_path: Path) -> None:
    folder = store(tmp_path, "2026-01-01")
    assert (find(tmp_path).legacy_draws, find(tmp_path).notes) == (False, [])
    content = json.loads((folder / PLAN).read_text())
    (folder / PLAN).write_text(json.dumps({**content, "version": 1}))
    assert find(tmp_path).legacy_draws is True
    assert find(tmp_path).notes[0].startswith("an earlier version began this launch")
    content["sweep"]["space"] = {"mdr": {"choice": [None, {"weight": 0.1}, {"weight": 0.1000001}]}}
    (folder / PLAN).write_text(json.dumps({**content, "version": 1}))
    with pytest.raises(UserError, match="choices of mdr that are equal to 3 digits"):
        find(tmp_path)
