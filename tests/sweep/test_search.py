"""The search of one arm: domains, suggestions, its study on disk; and the scheduler."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState
from ray import cloudpickle
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from mdr_tune.config.arms import Arm, arms
from mdr_tune.config.space import Domain
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.sweep.search import ArmSearch, distribution, make_sampler, make_scheduler

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


def new_search(folder: Path, arm: int = 0, **changes: Any) -> ArmSearch:
    sweep = sweep_with(**changes)
    chosen = arms(sweep)[arm]
    return ArmSearch(chosen, sweep.search, METRIC, folder / "optuna.db", f"{sweep.name}-{chosen.name}")


def suggest(search: ArmSearch, trial_id: str) -> dict[str, Any]:
    found = search.suggest(trial_id)
    assert found is not None
    return found


def finish(search: ArmSearch, trial_id: str, recall: float) -> None:
    search.on_trial_complete(trial_id, {METRIC: recall, "training_iteration": 1})


def trials_on_disk(folder: Path, study: str = "letters-mdr") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=study, storage=f"sqlite:///{folder / 'optuna.db'}").trials


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ({"uniform": [1, 5]}, FloatDistribution(1.0, 5.0)),
        ({"loguniform": [0.01, 1]}, FloatDistribution(0.01, 1.0, log=True)),
        ({"int": [2, 20]}, IntDistribution(2, 20)),
        ({"choice": [64, 128]}, CategoricalDistribution([64, 128])),
        ({"choice": ["rescale", "none"]}, CategoricalDistribution(["rescale", "none"])),
        ({"choice": [True, False]}, CategoricalDistribution([True, False])),
        ({"choice": [[-3, 0, 3], [0]]}, CategoricalDistribution(["[-3, 0, 3]", "[0]"])),
    ],
)
def test_each_kind_of_domain_in_optuna_s_terms(domain: dict[str, Any], expected: BaseDistribution) -> None:
    assert distribution(Domain.model_validate(domain)) == expected


def test_the_start_comes_first_and_then_whole_valid_trials(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    first = suggest(search, "t0")
    assert first["parameters"] == {
        "mdr.levels.count": 3,
        "mdr.levels.spread": 3.0,
        "mdr.weight": 0.1,
        "loss.margin": 0.2,
    }
    assert TrialConfig.model_validate(first["trial"]).mdr.initial_levels() == [-3.0, 0.0, 3.0]  # type: ignore[union-attr]
    for number in range(1, 5):
        finish(search, f"t{number - 1}", 50.0 + number)
        found = suggest(search, f"t{number}")
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


def test_asking_again_for_a_trial_gives_it_again(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    assert suggest(search, "t0") == suggest(search, "t0")
    assert suggest(search, "t1") != suggest(search, "t0")


def test_a_start_may_name_some_parameters_only(tmp_path: Path) -> None:
    search = new_search(tmp_path, start_from=[{"mdr.weight": 0.1}, {"loss.margin": 0.25}])
    first, second = suggest(search, "t0")["parameters"], suggest(search, "t1")["parameters"]
    assert set(first) == {"mdr.levels.count", "mdr.levels.spread", "mdr.weight", "loss.margin"}
    assert first["mdr.weight"] == 0.1
    assert (second["loss.margin"], second["mdr.weight"] == 0.1) == (0.25, False)


def test_a_study_that_goes_on_does_not_start_from_the_same_points_again(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    suggest(search, "t0")
    finish(search, "t0", 50.0)
    again = new_search(tmp_path)
    assert suggest(again, "u0")["parameters"]["mdr.weight"] != 0.1
    assert len(trials_on_disk(tmp_path)) == 2


def test_choices_that_are_lists_reach_the_trial_as_lists(tmp_path: Path) -> None:
    space = {"mdr.levels": {"choice": [[-3, 0, 3], [-1, 1]]}}
    search = new_search(tmp_path, space=space, start_from=[{"mdr.levels": [-1, 1]}], baselines=[])
    found = suggest(search, "t0")
    assert found["parameters"] == {"mdr.levels": [-1, 1]}
    assert found["trial"]["mdr"]["levels"] == [-1.0, 1.0]


def test_a_grid_runs_every_combination_in_order(tmp_path: Path) -> None:
    space = {"loss": ["triplet", {"name": "arcface", "scale": 16.0}], "mdr": [None, {"weight": 0.3}]}
    grid = {"sampler": "grid", "scheduler": "none"}
    search = new_search(tmp_path, space=space, search=grid, start_from=[], baselines=[])
    trials = []
    for number in range(4):
        trials.append(suggest(search, str(number))["trial"])
        finish(search, str(number), 50.0)
    assert [(trial["loss"]["name"], trial["mdr"] and trial["mdr"]["weight"]) for trial in trials] == [
        ("triplet", None),
        ("triplet", 0.3),
        ("arcface", None),
        ("arcface", 0.3),
    ]


def test_a_baseline_is_searched_without_mdr(tmp_path: Path) -> None:
    found = suggest(new_search(tmp_path, arm=2), "t0")
    assert found["parameters"] == {"loss.margin": 0.2}
    assert (found["trial"]["mdr"], found["trial"]["embedding"]["mode"]) == (None, "l2")
    assert len(trials_on_disk(tmp_path, "letters-triplet_l2")) == 1


def draw(search: ArmSearch) -> list[dict[str, Any]]:
    drawn = []
    for number in range(4):
        drawn.append(suggest(search, str(number))["parameters"])
        finish(search, str(number), 50.0 + drawn[-1]["loss.margin"])
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
    suggest(search, "t0")
    copy = cloudpickle.loads(cloudpickle.dumps(search))
    finish(copy, "t0", 50.0)  # it knows the trial that was under way
    TrialConfig.model_validate(suggest(copy, "t1")["trial"])
    assert [trial.state for trial in trials_on_disk(tmp_path)] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_how_trials_end_is_in_the_study(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    for number in range(3):
        suggest(search, str(number))
    search.on_trial_result("0", {METRIC: 40.0, "training_iteration": 1})
    finish(search, "0", 62.5)
    search.on_trial_complete("1", error=True)
    done, failed, running = trials_on_disk(tmp_path)
    assert (done.state, done.value, done.intermediate_values) == (TrialState.COMPLETE, 62.5, {1: 40.0})
    assert done.params["mdr.weight"] == 0.1
    assert (failed.state, failed.value) == (TrialState.FAIL, None)
    assert running.state == TrialState.RUNNING


def test_more_is_better(tmp_path: Path) -> None:
    search = new_search(tmp_path)
    for number, recall in enumerate((50.0, 70.0, 60.0)):
        suggest(search, str(number))
        finish(search, str(number), recall)
    study = optuna.load_study(study_name="letters-mdr", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.best_value == 70.0


@pytest.mark.parametrize(("trials", "at_random"), [(1, 1), (6, 2), (12, 4), (300, 10)])
def test_tpe_draws_a_third_at_random_but_at_most_ten(trials: int, at_random: int) -> None:
    sweep = sweep_with(search={"trials": trials}, start_from=[])
    arm: Arm = arms(sweep)[0]
    sampler = make_sampler(sweep.search, arm)
    assert isinstance(sampler, TPESampler)
    assert sampler._n_startup_trials == at_random  # what it does follows only after that many trials


def test_random_is_random(tmp_path: Path) -> None:
    sweep = sweep_with(search={"sampler": "random"})
    assert isinstance(make_sampler(sweep.search, arms(sweep)[0]), RandomSampler)


def decisions(scheduler: TrialScheduler, *reports: tuple[str, int, float]) -> list[str]:
    """Report (trial, epoch, recall) one after another; returns what Tune is told to do each time."""
    scheduler.set_search_properties(METRIC, "max")
    trials = {name: SimpleNamespace(trial_id=name) for name, _, _ in reports}
    for trial in trials.values():
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    return [
        scheduler.on_trial_result(None, trials[name], {"epoch": epoch, METRIC: recall})  # type: ignore[arg-type]
        for name, epoch, recall in reports
    ]


def test_asha_stops_the_worse_after_the_grace_epochs_and_all_at_the_end() -> None:
    sweep = sweep_with(search={"scheduler": {"name": "asha", "grace_epochs": 2, "reduction_factor": 2}})
    reports = [("a", 1, 60.0), ("b", 1, 10.0), ("a", 2, 60.0), ("b", 2, 50.0), ("c", 2, 70.0), ("a", 8, 99.0)]
    found = decisions(make_scheduler(sweep, max_epochs=8), *reports)
    assert found == ["CONTINUE", "CONTINUE", "CONTINUE", "STOP", "CONTINUE", "STOP"]


def test_asha_keeps_one_of_so_many() -> None:
    sweep = sweep_with(search={"scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 4}})
    recalls = [10.0, 20.0, 30.0, 40.0, 24.0, 33.0]  # of the first five, the upper quarter begins at 30
    found = decisions(make_scheduler(sweep, 8), *[(str(i), 1, recall) for i, recall in enumerate(recalls)])
    assert found == ["CONTINUE", "CONTINUE", "CONTINUE", "CONTINUE", "STOP", "CONTINUE"]


def test_without_a_scheduler_nothing_is_stopped_early() -> None:
    scheduler = make_scheduler(sweep_with(search={"scheduler": "none"}), 8)
    assert isinstance(scheduler, FIFOScheduler)
    assert decisions(scheduler, ("a", 2, 60.0), ("b", 2, 0.0), ("b", 8, 0.0)) == ["CONTINUE"] * 3
