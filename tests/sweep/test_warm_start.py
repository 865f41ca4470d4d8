"""The best configurations of another sweep as points to start from."""

import json
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.config.arms import arms
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.journal import Journal
from mdr_tune.sweep.warm_start import resolve
from mdr_tune.util.errors import UserError

METRIC = "val/map_at_r"
SPACE: dict[str, Any] = {
    "mdr.weight": {"uniform": [0, 1]},
    "loss.margin": {"uniform": [0.1, 0.3]},
    "mdr.levels": {"count": [2, 3], "spread": {"uniform": [1, 5]}},
}


def sweep_with(**changes: Any) -> SweepConfig:
    start = {"sweep": "other", "best": 2}
    return SweepConfig.model_validate({"name": "mine", "space": SPACE, "start_from": start, **changes})


def launch(
    storage: Path,
    trials: list[tuple[str, dict[str, Any], list[float], str]],
    when: str = "1",
    name: str = "other",
    **search: Any,
) -> None:
    """Write what a launch leaves: (trial, what differs from the default, metric of each epoch, outcome)."""
    folder = storage / "sweeps" / name / when
    journal = Journal(folder, tell=print)
    (folder / "plan.json").write_text(json.dumps({"sweep": {"metric": METRIC, "search": search}}))
    for trial, changes, values, outcome in trials:
        config = TrialConfig.model_validate(changes).model_dump(mode="json")
        arm, _, rest = trial.rpartition("-")
        number, _, seed = rest.partition(".")
        place = {"arm": arm, "number": int(number) - 1, "seed_index": int(seed or 1) - 1}
        journal.write("started", name=trial, parameters={}, config=config, **place)
        for epoch, value in enumerate(values, 1):
            journal.write("epoch", name=trial, metrics={"epoch": epoch, METRIC: value, "val/recall_at_1": -value})
        journal.write("ended", name=trial, outcome=outcome, error=None)
    journal.close()


def with_weight(weight: float, margin: float = 0.2) -> dict[str, Any]:
    return {"mdr": {"weight": weight}, "loss": {"margin": margin}}


def test_finalists_come_before_a_lucky_seed(tmp_path: Path) -> None:
    trials = [
        ("mdr-001", with_weight(0.1), [30.0], "completed"),
        ("mdr-002", with_weight(0.2), [29.0], "completed"),
        ("mdr-002.2", with_weight(0.2), [25.0], "completed"),
    ]
    for finalists, weights in ((None, [0.1, 0.2]), (1, [0.2, 0.1])):
        launch(tmp_path / str(finalists), trials, finalists=finalists)
        sweep, _ = resolve(sweep_with(), tmp_path / str(finalists))
        assert [point["mdr.weight"] for point in sweep.start_from] == weights  # type: ignore[union-attr]


def test_the_best_by_its_own_metric_come_first(tmp_path: Path) -> None:
    launch(
        tmp_path,
        [
            ("mdr-001", with_weight(0.1), [10.0, 30.0, 20.0], "completed"),
            ("mdr-002", with_weight(0.2), [50.0], "stopped_early"),
            ("mdr-003", with_weight(0.3), [99.0], "diverged"),
            ("mdr-004", with_weight(0.4), [], "failed"),
            ("mdr-005", with_weight(0.5), [5.0], "completed"),
            ("triplet-001", {"mdr": None, "loss": {"margin": 0.25}}, [100.0], "completed"),
        ],
    )
    found, notes = resolve(sweep_with(), tmp_path)
    common = {"loss.margin": 0.2, "mdr.levels.count": 3, "mdr.levels.spread": 3.0}
    assert found.start_from == [{"mdr.weight": 0.2, **common}, {"mdr.weight": 0.1, **common}]
    assert notes == ["starts from 2 configurations of other, launch 1"]
    assert [point["mdr.weight"] for point in arms(found)[0].start_from] == [0.2, 0.1]


def test_a_seed_that_did_not_come_to_its_end_is_in_no_mean(tmp_path: Path) -> None:
    launch(
        tmp_path,
        [
            ("mdr-001", with_weight(0.1), [60.0], "completed"),
            ("mdr-001.2", {**with_weight(0.1), "seed": 1}, [20.0], "failed"),
            ("mdr-002", with_weight(0.2), [50.0], "completed"),
        ],
    )
    found, _ = resolve(sweep_with(start_from={"sweep": "other", "best": 1}), tmp_path)
    assert [point["mdr.weight"] for point in found.start_from] == [0.1]  # type: ignore[index]


def test_the_newest_launch_counts_and_seeds_by_their_mean(tmp_path: Path) -> None:
    launch(tmp_path, [("mdr-001", with_weight(0.9), [99.0], "completed")], when="2026-01-01")
    seeds = [
        ("mdr-001", with_weight(0.1), [60.0], "completed"),
        ("mdr-001.2", {**with_weight(0.1), "seed": 1}, [20.0], "completed"),
        ("mdr-002", with_weight(0.2), [50.0], "completed"),
    ]
    launch(tmp_path, seeds, when="2026-01-02")
    found, _ = resolve(sweep_with(start_from={"sweep": "other", "best": 1}), tmp_path)
    assert [point["mdr.weight"] for point in found.start_from] == [0.2]  # type: ignore[index]


def test_what_cannot_be_drawn_is_said_and_the_same_point_comes_once(tmp_path: Path) -> None:
    launch(
        tmp_path,
        [
            ("mdr-001", with_weight(0.1, margin=0.9), [70.0], "completed"),
            ("mdr-002", with_weight(0.1, margin=0.8), [60.0], "completed"),
            ("mdr-003", {"mdr": {"weight": 0.3, "levels": [-3, 0, 1]}}, [50.0], "completed"),
        ],
    )
    found, notes = resolve(sweep_with(baselines=["triplet"]), tmp_path)
    levels = {"mdr.levels.count": 3, "mdr.levels.spread": 3.0}
    assert found.start_from == [{"mdr.weight": 0.1, **levels}, {"mdr.weight": 0.3, "loss.margin": 0.2}]
    without = "loss.margin 0.9, loss.margin 0.8, mdr.levels [-3.0, 0.0, 1.0]"
    assert notes[1] == f"start_from: this space cannot draw {without}; such keys are drawn anew"
    assert [arm.start_from for arm in arms(found)][1] == ({"loss.margin": 0.2},)


def test_a_trial_that_population_based_training_changed_counts_as_it_was_at_its_best(tmp_path: Path) -> None:
    launch(tmp_path, [("mdr-001", with_weight(0.1), [10.0, 20.0, 15.0], "completed")])
    journal = Journal(tmp_path / "sweeps" / "other" / "1", tell=print)
    for epoch, weight in ((1, 0.12), (2, 0.7)):
        journal.write("changed", name="mdr-001", epoch=epoch, source="mdr-002", parameters={"mdr.weight": weight})
    journal.close()
    found, _ = resolve(sweep_with(), tmp_path)
    assert found.start_from[0]["mdr.weight"] == 0.12  # type: ignore[index]


def test_a_sweep_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    launch(tmp_path, [], name="others")
    launch(tmp_path, [], name="letters")
    with pytest.raises(UserError, match=r"no sweep other in .*Did you mean 'others'\? There: letters, others\."):
        resolve(sweep_with(), tmp_path)
    with pytest.raises(UserError, match="no sweep other in"):
        resolve(sweep_with(), tmp_path / "elsewhere")


def test_a_sweep_with_nothing_to_take_is_refused(tmp_path: Path) -> None:
    launch(tmp_path, [("mdr-001", with_weight(7.0, margin=0.9), [70.0], "completed")])
    with pytest.raises(UserError, match="no trial of other has a value that this space can draw"):
        resolve(sweep_with(space={"mdr.weight": SPACE["mdr.weight"]}), tmp_path)


@pytest.mark.parametrize("plan", ["", "[]", "{}", '{"sweep": 3}'])
def test_a_launch_whose_plan_is_damaged_is_refused(tmp_path: Path, plan: str) -> None:
    launch(tmp_path, [("mdr-001", with_weight(0.1), [10.0], "completed")])
    (tmp_path / "sweeps" / "other" / "1" / "plan.json").write_text(plan)
    with pytest.raises(UserError, match=r"start_from.sweep: .*/other/1/plan.json cannot be read"):
        resolve(sweep_with(), tmp_path)


def test_points_that_the_file_gives_stay(tmp_path: Path) -> None:
    sweep = sweep_with(start_from=[{"mdr.weight": 0.1}])
    assert resolve(sweep, tmp_path) == (sweep, [])
