"""Samplers: what each draws, and that it depends on seed, study, number and history alone."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray import cloudpickle

from mdr_tune.config.arms import arms
from mdr_tune.config.configurations import configuration_key
from mdr_tune.config.distributions import distribution
from mdr_tune.config.samplers import SAMPLERS
from mdr_tune.config.space import parameter_tree, resolve
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.search.arm_search import ArmSearch
from tests.waiting import HANG_S

PLAIN: dict[str, Any] = {
    "loss.margin": {"uniform": [0.05, 0.5]},
    "mdr.weight": {"loguniform": [0.01, 1]},
    "batch.images_per_class": {"int": [2, 8]},
    "embedding.size": [64, 128],
}
CONDITIONAL: dict[str, Any] = {
    "loss": [
        {"name": "triplet", "margin": {"uniform": [0.05, 0.5]}},
        {"name": "arcface", "margin": {"uniform": [20, 40]}, "scale": {"loguniform": [8, 64]}},
    ],
    "mdr": [None, {"weight": {"loguniform": [0.01, 1]}}],
}
GRID: dict[str, Any] = {"loss.margin": [0.1, 0.2, 0.3], "mdr": [None, {"weight": {"choice": [0.1, 0.2]}}]}
CASES = {
    "tpe": ("tpe", PLAIN),
    "tpe-conditional": ("tpe", CONDITIONAL),
    "gp": ("gp", PLAIN),
    "gp-conditional": ("gp", CONDITIONAL),
    "random": ("random", CONDITIONAL),
    "qmc": ("qmc", PLAIN),
    "qmc-conditional": ("qmc", CONDITIONAL),
    "cmaes": ("cmaes", PLAIN),
    "grid": ("grid", GRID),
}
TRIALS = {case: 12 if case == "cmaes" else 7 for case in CASES}
"""Beyond those at random; CMA-ES learns from 7 at a time."""


def test_every_sampler_is_among_the_cases() -> None:
    assert {sampler for sampler, _ in CASES.values()} == set(SAMPLERS)


def open_search(folder: Path, case: str, metrics: int = 1, legacy: bool = False, **changes: Any) -> ArmSearch:
    sampler, space = CASES[case]
    search = {"sampler": sampler, **({} if sampler == "grid" else {"trials": 9}), **changes.pop("search", {})}
    sweep = SweepConfig.model_validate({"name": "x", "space": space, "search": search, **changes})
    names = ["val/recall_at_1", "val/map_at_r"][:metrics]
    return ArmSearch(arms(sweep, repeats=legacy)[0], sweep.search, names, folder / "optuna.db", "x-mdr", legacy)


def play(search: ArmSearch, number: int) -> dict[str, Any]:
    """Ask for a trial, and tell an end and a value that its parameters decide."""
    found = search.suggest(search.next_name())
    assert found is not None
    value = 50 + 10 * sum(v for v in found["parameters"].values() if isinstance(v, float))
    search.report(number, 1, value)
    if number % 4 == 2 and len(search._metrics) == 1:
        search.prune(number)
    elif number % 5 == 3:
        search.fail(number, "diverged")
    else:
        search.complete(number, [value, 100 - value][: len(search._metrics)])
    return dict(found["parameters"])


@pytest.mark.parametrize("case", CASES)
def test_what_is_drawn_does_not_depend_on_interruptions(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One study at a stretch; one whose process, as it were, ends after each trial, or is pickled. Both in silence."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search = open_search(whole, case)
        expected = [play(search, number) for number in range(TRIALS[case])]
        found = []
        for number in range(TRIALS[case]):
            again = open_search(cut, case)
            found.append(play(cloudpickle.loads(cloudpickle.dumps(again)) if number % 2 else again, number))
    assert capfd.readouterr() == ("", "")
    assert found == expected
    assert len({str(drawn) for drawn in expected}) > TRIALS[case] // 2
    for number, drawn in enumerate(expected):
        check_branch(search, case, number, drawn)


def check_branch(search: ArmSearch, case: str, number: int, drawn: dict[str, Any]) -> None:
    """Check that a draw is a valid trial, with the parameters of its choices and no others."""
    trial = resolve(TrialConfig(), search._arm.space, drawn)
    assert trial.model_dump() == search.adopt(number)["trial"]
    if CASES[case][1] is CONDITIONAL:
        assert ("loss.scale" in drawn) == (trial.loss.name == "arcface")
        assert ("mdr.weight" in drawn) == (trial.mdr is not None)


def draw_each(folder: Path, *cases: str) -> list[list[dict[str, Any]]]:
    """Return what a new study of each case draws."""
    drawn = []
    for case in cases:
        (folder / case).mkdir(parents=True)
        search = open_search(folder / case, case)
        drawn.append([play(search, number) for number in range(TRIALS[case])])
    return drawn


def test_another_process_draws_the_same(tmp_path: Path) -> None:
    """Python's hashes of text differ from process to process."""
    cases = ("tpe-conditional", "cmaes", "qmc")
    script = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from tests.search.test_samplers import *\n"
        "print(draw_each(pathlib.Path(sys.argv[2]), *sys.argv[3:]))"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parents[2]), str(tmp_path / "there"), *cases]
    there = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=True)
    assert there.stdout.strip() == str(draw_each(tmp_path / "here", *cases))


@pytest.mark.parametrize("case", [case for case in CASES if case != "grid"])
def test_the_seed_decides(tmp_path: Path, case: str) -> None:
    drawn = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        search = open_search(folder, case, search={"seed": seed})
        drawn.append([play(search, number) for number in range(3)])
    assert all(one != other for one, other in zip(drawn[0], drawn[1], strict=True) if len(one) > 2)
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("case", [case for case in CASES if case != "cmaes"])
def test_two_objectives(tmp_path: Path, case: str) -> None:
    search = open_search(tmp_path, case, metrics=2)
    drawn = [play(search, number) for number in range(TRIALS[case])]
    assert len({str(one) for one in drawn}) > TRIALS[case] // 2
    assert len(search._study.best_trials) >= 2


def test_sobol_points_are_evener_than_random_ones(tmp_path: Path) -> None:
    """Of 8 points, each eighth of a range has one: what random points almost never do."""
    search = open_search(tmp_path, "qmc", search={"trials": 8})
    margins = [play(search, number)["loss.margin"] for number in range(8)]
    assert sorted(int((margin - 0.05) / 0.45 * 8) for margin in margins) == list(range(8))


def test_sobol_goes_on_after_the_points_that_were_given(tmp_path: Path) -> None:
    for name in ("plain", "given"):
        (tmp_path / name).mkdir()
    plain = open_search(tmp_path / "plain", "qmc")
    expected = [play(plain, number) for number in range(3)]
    given = open_search(tmp_path / "given", "qmc", start_from=[{"loss.margin": 0.1}])
    assert play(given, 0)["loss.margin"] == 0.1
    found = [play(given, 1)]
    stored = f"sqlite:///{tmp_path / 'given' / 'optuna.db'}"
    optuna.load_study(study_name="x-mdr", storage=stored).enqueue_trial({"loss.margin": 0.2})
    assert play(given, 2)["loss.margin"] == 0.2
    assert [*found, play(given, 3), play(given, 4)] == expected


def test_cmaes_moves_towards_what_is_good(tmp_path: Path) -> None:
    search = open_search(tmp_path, "cmaes", search={"trials": 40})
    margins = []
    for number in range(40):
        found = search.suggest(search.next_name())
        assert found is not None
        margins.append(found["parameters"]["loss.margin"])
        search.complete(number, [-100 * abs(margins[-1] - 0.45)])
    assert sum(margins[-10:]) > sum(margins[:10]) + 0.5


def test_tpe_moves_towards_the_good_branch(tmp_path: Path) -> None:
    search = open_search(tmp_path, "tpe-conditional", search={"trials": 24})
    losses = []
    for number in range(24):
        found = search.suggest(search.next_name())
        assert found is not None
        losses.append(found["parameters"]["loss"])
        search.complete(number, [found["parameters"].get("loss.scale", 0.0)])
    assert losses[-12:].count("arcface") > 8


@pytest.mark.parametrize(("trials", "at_random"), [(1, 1), (6, 2), (12, 4), (300, 10)])
@pytest.mark.parametrize("case", ["tpe", "gp"])
def test_a_third_is_drawn_at_random_but_at_most_ten(tmp_path: Path, case: str, trials: int, at_random: int) -> None:
    sampler = open_search(tmp_path, case, search={"trials": trials})._study.sampler
    assert sampler._sampler.fresh(0)._n_startup_trials == at_random  # type: ignore[attr-defined]


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
        ({"choice": [None, {"name": "arcface", "scale": {"int": [8, 9]}}]}, CategoricalDistribution([None, "arcface"])),
    ],
)
def test_each_kind_of_domain_in_optuna_s_terms(domain: dict[str, Any], expected: BaseDistribution) -> None:
    space = SweepConfig.model_validate({"name": "x", "space": {"key": domain}}).space
    assert distribution(parameter_tree(space)[0]) == expected


FEW: dict[str, Any] = {"mdr.weight": [0.1, 0.2, 0.3], "embedding.size": [64, 128]}
ALIKE: dict[str, Any] = {"mdr": [None, {"levels": {"count": [1, 2], "spread": {"choice": [1.0, 2.0]}}}]}


@pytest.mark.parametrize(
    ("sampler", "space"),
    [("tpe", FEW), ("tpe", ALIKE), ("gp", ALIKE), ("qmc", FEW), ("random", ALIKE)],
    ids=["tpe", "tpe-alike", "gp-alike", "qmc", "random-alike"],
)
def test_no_configuration_is_drawn_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, space: dict[str, Any]
) -> None:
    """Interrupted after each trial or not: all are drawn, each once, and then no more. One level has no spread."""
    monkeypatch.setitem(CASES, "few", (sampler, space))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    search = open_search(whole, "few")
    there_are = search._arm.trials
    assert (there_are, search._arm.configurations) == ((6, 6) if space is FEW else (4, 4))
    drawn = [play(search, number) for number in range(there_are)]
    found = {configuration_key(resolve(TrialConfig(), search._arm.space, one)) for one in drawn}
    assert len(found) == there_are
    assert search.next_name() is None
    assert [play(open_search(cut, "few"), number) for number in range(there_are)] == drawn
    again = open_search(cut, "few")
    assert (again.next_name(), again.running_numbers()) == (None, [])


def test_a_branch_without_ranges_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "branch", ("tpe", {"mdr": [None, {"weight": {"uniform": [0, 1]}}]}))
    search = open_search(tmp_path, "branch")
    assert [play(search, number)["mdr"] for number in range(9)].count(None) == 1


def test_a_point_that_leaves_nothing_new_is_drawn_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "few", ("random", FEW))
    points = [{"mdr.weight": 0.1}, {"mdr.weight": 0.1}, {"mdr.weight": 0.1}]
    search = open_search(tmp_path, "few", start_from=points)
    drawn = [play(search, number) for number in range(3)]
    assert [one["mdr.weight"] == 0.1 for one in drawn] == [True, True, False]
    assert drawn[0]["embedding.size"] != drawn[1]["embedding.size"]


def test_where_a_range_says_nothing_the_search_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "none", ("random", {"mdr.levels": {"count": [1], "spread": {"uniform": [1, 5]}}}))
    search = open_search(tmp_path, "none")
    assert play(search, 0).keys() == {"mdr.levels.spread"}
    assert search.next_name() is None
    assert search.running_numbers() == []


@pytest.mark.parametrize("case", ["tpe", "qmc-conditional", "cmaes"])
def test_the_study_s_name_decides_nothing(tmp_path: Path, case: str) -> None:
    drawn = []
    for name in ("x", "y"):
        sampler, space = CASES[case]
        sweep = SweepConfig.model_validate({"name": name, "space": space, "search": {"sampler": sampler, "trials": 9}})
        search = ArmSearch(arms(sweep)[0], sweep.search, ["val/recall_at_1"], tmp_path / "optuna.db", f"{name}-mdr")
        drawn.append([play(search, number) for number in range(4)])
    assert drawn[0] == drawn[1]


def test_a_study_of_version_1_goes_on_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are what commit 1c01d8f drew: by the study's name, and repeats."""
    monkeypatch.setitem(CASES, "three", ("tpe", {"mdr.weight": [0.1, 0.2, 0.3]}))
    search = open_search(tmp_path, "three", legacy=True)
    assert [play(search, number)["mdr.weight"] for number in range(6)] == [0.3, 0.2, 0.2, 0.3, 0.3, 0.1]
    other = tmp_path / "other"
    other.mkdir()
    search = open_search(other, "tpe", legacy=True)
    margins = [play(search, number)["loss.margin"] for number in range(5)]
    assert margins == pytest.approx([0.05857075811, 0.17963749105, 0.24947708378, 0.05543772951, 0.23484317658])


@pytest.mark.parametrize("scheduler", ["none", "pbt"])
def test_values_that_do_not_go_together_are_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    margins = {"loss.pos_margin": {"uniform": [0, 0.9]}, "loss.neg_margin": {"uniform": [0.5, 1]}}
    monkeypatch.setitem(CASES, "margins", ("random", margins))
    search = open_search(tmp_path, "margins", trial={"loss": {"name": "contrastive"}}, search={"scheduler": scheduler})
    drawn = [play(search, number) for number in range(9)]
    assert all(one["loss.pos_margin"] < one["loss.neg_margin"] for one in drawn)
