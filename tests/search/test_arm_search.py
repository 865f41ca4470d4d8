"""The search of one arm: suggestions, its study on disk, and that it can be told twice."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray import cloudpickle

from mdr_tune.config.arms import arms
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.search.arm_search import ArmSearch

METRIC = "val/recall_at_1"
SWEEP: dict[str, Any] = {
    "name": "letters",
    "trial": {"epochs": 8},
    "search": {"sampler": "tpe", "trials": 6, "seed": 0},
    "space": {
        "mdr.levels": {"count": [2, 3, 5], "spread": {"uniform": [1, 5]}},
        "mdr.weight": {"loguniform": [0.01, 1]},
        "loss.margin": {"uniform": [0.05, 0.5]},
    },
    "start_from": [{"mdr.levels": [-3, 0, 3], "mdr.weight": 0.1, "loss.margin": 0.2}],
    "baselines": ["triplet", "triplet_l2"],
}


def sweep_with(**changes: Any) -> SweepConfig:
    return SweepConfig.model_validate({**SWEEP, **changes})


def new_search(folder: Path, arm: int = 0, metrics: list[str] | None = None, **changes: Any) -> ArmSearch:
    sweep = sweep_with(**changes)
    chosen = arms(sweep)[arm]
    study = f"{sweep.name}-{chosen.name}"
    return ArmSearch(chosen, sweep.search, metrics or [METRIC], folder / "optuna.db", study)


def suggest(search: ArmSearch) -> dict[str, Any]:
    found = search.suggest(search.next_name())
    assert found is not None
    return found


def trials_on_disk(folder: Path, study: str = "letters-mdr") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=study, storage=f"sqlite:///{folder / 'optuna.db'}").trials


def test_the_start_comes_first_and_then_whole_valid_trials(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    first = suggest(search)
    assert first["parameters"] == {
        "mdr.levels.count": 3,
        "mdr.levels.spread": 3.0,
        "mdr.weight": 0.1,
        "loss.margin": 0.2,
    }
    assert TrialConfig.model_validate(first["trial"]).mdr.initial_levels() == [-3.0, 0.0, 3.0]  # type: ignore[union-attr]
    for number in range(1, 5):
        search.complete(number - 1, [50.0 + number])
        found = suggest(search)
        config, drawn = TrialConfig.model_validate(found["trial"]), found["parameters"]
        assert config.mdr is not None
        levels = config.mdr.initial_levels()
        assert set(found) == {"trial", "parameters"}
        assert (config.epochs, config.mdr.weight, config.loss.margin) == (8, drawn["mdr.weight"], drawn["loss.margin"])
        assert len(levels) == drawn["mdr.levels.count"] in (2, 3, 5)
        assert (levels[-1] - levels[0]) / 2 == pytest.approx(drawn["mdr.levels.spread"])
        assert 1 <= drawn["mdr.levels.spread"] <= 5
        assert 0.01 <= drawn["mdr.weight"] <= 1
        assert 0.05 <= drawn["loss.margin"] <= 0.5
        assert drawn != first["parameters"]


def test_trials_are_named_after_the_arm_and_their_number(tmp_path: Path) -> None:
    search = new_search(tmp_path, arm=1)
    assert [search.next_name() for _ in range(2)] == ["triplet-001", "triplet-002"]
    assert search.suggest("triplet-001") == search.adopt(0) == search.suggest("triplet-001")
    assert search.suggest("triplet-002") != search.suggest("triplet-001")


def test_a_start_may_name_some_parameters_only(tmp_path: Path) -> None:
    search = new_search(tmp_path, start_from=[{"mdr.weight": 0.1}, {"loss.margin": 0.25}])
    first, second = suggest(search)["parameters"], suggest(search)["parameters"]
    assert set(first) == {"mdr.levels.count", "mdr.levels.spread", "mdr.weight", "loss.margin"}
    assert first["mdr.weight"] == 0.1
    assert (second["loss.margin"], second["mdr.weight"] == 0.1) == (0.25, False)


def test_a_study_that_goes_on_does_not_start_from_the_same_points_again(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    suggest(search)
    search.complete(0, [50.0])
    again = new_search(tmp_path)
    assert suggest(again)["parameters"]["mdr.weight"] != 0.1
    assert len(trials_on_disk(tmp_path)) == 2


def test_choices_that_are_lists_reach_the_trial_as_lists(tmp_path: Path) -> None:
    space = {"mdr.levels": {"choice": [[-3, 0, 3], [-1, 1]]}}
    search = new_search(tmp_path, space=space, start_from=[{"mdr.levels": [-1, 1]}], baselines=[])
    found = suggest(search)
    assert found["parameters"] == {"mdr.levels": [-1, 1]}
    assert found["trial"]["mdr"]["levels"] == [-1.0, 1.0]


def test_a_grid_runs_every_combination_in_order(tmp_path: Path) -> None:
    space = {"loss": ["triplet", {"name": "arcface", "scale": 16.0}], "mdr": [None, {"weight": 0.3}]}
    grid = {"sampler": "grid", "scheduler": "none"}
    search = new_search(tmp_path, space=space, search=grid, start_from=[], baselines=[])
    trials = []
    for number in range(4):
        trials.append(suggest(search)["trial"])
        search.complete(number, [50.0])
    assert [(trial["loss"]["name"], trial["mdr"] and trial["mdr"]["weight"]) for trial in trials] == [
        ("triplet", None),
        ("triplet", 0.3),
        ("arcface", None),
        ("arcface", 0.3),
    ]


def test_a_baseline_is_searched_without_mdr(tmp_path: Path) -> None:
    found = suggest(new_search(tmp_path, arm=2))
    assert found["parameters"] == {"loss.margin": 0.2}
    assert (found["trial"]["mdr"], found["trial"]["embedding"]["mode"]) == (None, "l2")
    assert len(trials_on_disk(tmp_path, "letters-triplet_l2")) == 1


def draw(search: ArmSearch) -> list[dict[str, Any]]:
    drawn = []
    for number in range(4):
        drawn.append(suggest(search)["parameters"])
        search.complete(number, [50.0 + drawn[-1]["loss.margin"]])
    return drawn


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_decides_what_is_drawn(tmp_path: Path, sampler: str) -> None:
    drawn = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        drawn.append(draw(new_search(folder, search={"sampler": sampler, "trials": 6, "seed": seed}, start_from=[])))
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[0], drawn[2], strict=True))


def test_it_can_be_pickled_and_goes_on(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    suggest(search)
    copy = cloudpickle.loads(cloudpickle.dumps(search))
    copy.complete(0, [50.0])  # it knows the trial that was under way
    TrialConfig.model_validate(suggest(copy)["trial"])
    assert [trial.state for trial in trials_on_disk(tmp_path)] == [TrialState.COMPLETE, TrialState.RUNNING]


def tell_everything(search: ArmSearch) -> None:
    """One trial of each end, and one that goes on."""
    for number, value in ((0, 40.0), (0, 62.5), (1, 30.0), (1, math.nan)):
        search.report(number, 1 if value in (40.0, 30.0) else 2, value)
    search.complete(0, [62.5])
    search.prune(1)
    search.fail(2, "diverged")
    search.complete(3, [math.inf])


def test_how_trials_end_is_in_the_study(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    for _ in range(5):
        suggest(search)
    tell_everything(search)
    done, stopped, diverged, infinite, running = trials_on_disk(tmp_path)
    assert (done.state, done.value, done.intermediate_values) == (TrialState.COMPLETE, 62.5, {1: 40.0, 2: 62.5})
    assert done.params["mdr.weight"] == 0.1
    assert (stopped.state, stopped.value, stopped.intermediate_values) == (TrialState.PRUNED, 30.0, {1: 30.0})
    assert (diverged.state, diverged.value, diverged.user_attrs) == (TrialState.FAIL, None, {"outcome": "diverged"})
    assert (infinite.state, infinite.user_attrs["outcome"]) == (TrialState.FAIL, "its values are not finite: [inf]")
    assert (running.state, search.running_numbers()) == (TrialState.RUNNING, [4])
    assert [trial.user_attrs.get("outcome") for trial in (done, stopped)] == ["completed", "stopped_early"]


def test_to_tell_it_again_changes_nothing_not_even_after_a_restart(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    for _ in range(5):
        suggest(search)
    tell_everything(search)
    before = trials_on_disk(tmp_path)
    tell_everything(search)
    again = new_search(tmp_path)
    assert [again.adopt(number) for number in range(5)] == [search.adopt(number) for number in range(5)]
    tell_everything(again)
    assert trials_on_disk(tmp_path) == before


def test_to_tell_it_something_else_is_refused(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    suggest(search)
    search.report(0, 1, 40.0)
    search.report(0, 1, 41.0)  # the epoch was trained again
    search.complete(0, [41.0])
    assert trials_on_disk(tmp_path)[0].intermediate_values == {1: 41.0}
    with pytest.raises(ValueError, match="trial 0 ended as COMPLETE: it cannot end as FAIL"):
        search.fail(0, "failed")
    with pytest.raises(ValueError, match="it cannot end as COMPLETE"):
        search.complete(0, [42.0])
    with pytest.raises(ValueError, match="epoch 2 cannot have 50"):
        search.report(0, 2, 50.0)


def test_more_is_better(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    for number, recall in enumerate((50.0, 70.0, 60.0)):
        suggest(search)
        search.complete(number, [recall])
    study = optuna.load_study(study_name="letters-mdr", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert (study.best_value, study.metric_names) == (70.0, [METRIC])


def test_two_metrics_have_a_pareto_front(tmp_path: Path) -> None:
    metrics = [METRIC, "time/images_per_s"]
    search = new_search(tmp_path, metrics=metrics, search={"scheduler": "none"}, second_metric=metrics[1])
    for number, values in enumerate(([50.0, 900.0], [70.0, 100.0], [49.0, 800.0])):
        suggest(search)
        search.report(number, 1, values[0])
        search.complete(number, values)
    study = optuna.load_study(study_name="letters-mdr", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.metric_names == metrics
    assert sorted(trial.number for trial in study.best_trials) == [0, 1]
    assert all(trial.intermediate_values == {} for trial in study.trials)


def test_a_point_that_a_user_puts_into_the_study_comes_next(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    suggest(search)
    optuna.load_study(study_name="letters-mdr", storage=f"sqlite:///{tmp_path / 'optuna.db'}").enqueue_trial(
        {"mdr.weight": 0.77}
    )
    assert suggest(search)["parameters"]["mdr.weight"] == 0.77
    assert suggest(search)["parameters"]["mdr.weight"] != 0.77


def test_a_study_that_lost_its_last_trials_draws_them_again(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    drawn = []
    for folder, number_told in ((whole, 4), (cut, 3)):
        folder.mkdir()
        search = new_search(folder)
        for number in range(number_told):
            suggest(search)
            search.complete(number, [50.0 + number])
        drawn.append([search.adopt(number) for number in range(3)])
    assert drawn[0] == drawn[1]
    assert new_search(cut).adopt(3) == new_search(whole).adopt(3)


def test_a_trial_whose_parameters_were_half_stored_gets_the_same_ones(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    for number in range(4):
        suggest(search)
        search.complete(number, [50.0 + number])
    whole = search.adopt(int(search.next_name()[-3:]) - 1)
    engine = search._storage.engine  # type: ignore[attr-defined]
    with engine.begin() as connection:  # as a crash between two of its transactions leaves it
        connection.exec_driver_sql("delete from trial_params where param_name != 'loss.margin' and trial_id = 5")
    assert len(trials_on_disk(tmp_path)[4].params) == 1
    assert new_search(tmp_path).adopt(4) == whole
