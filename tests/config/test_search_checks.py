"""Which samplers, schedulers, seeds and objectives go together; and the domains inside of choices."""

from pathlib import Path

import pytest

from mdr_tune.config.arms import arms
from mdr_tune.config.sweep import SweepConfig, WarmStartConfig
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.util.errors import UserError

MAIN = Path(__file__).with_name("mdr_levels.yaml").read_text()
"""8 trials, ASHA, 8 epochs, two baselines that search the margin alone, one point to start from."""
CONDITIONAL = """\
name: x
space:
  loss:
    - {name: triplet, margin: {uniform: [0.05, 0.5]}}
    - name: arcface
      scale: {loguniform: [8, 64]}
  mdr: {choice: [null, {weight: {loguniform: [0.01, 1]}, levels: {count: [2, 3], spread: {uniform: [1, 5]}}}]}
"""


def read(tmp_path: Path, text: str, *overrides: str) -> SweepConfig:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    return read_sweep(file, list(overrides))[0]


def problems(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text, *overrides)
    return str(caught.value).replace(str(tmp_path) + "/", "").splitlines()


GRID = ["search={sampler: grid}", "space={loss.margin: [0.1, 0.2]}", "start_from=[]"]
PBT = ["search.scheduler=pbt"]
SEEDED = ["search.scheduler=none", "search.seeds=[0, 1]"]
FINALS = ["search.seeds_per_trial=3", "search.finalists=2"]
FOLDS = ["search={sampler: grid, scheduler: none, folds: 3}", "space={loss.margin: [0.1, 0.2]}", "start_from=[]"]
NO_BASELINES = ["baselines=[]"]


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (
            ["search.sampler=cmaes"],
            "baselines.0: cmaes needs at least two keys that are numbers (ranges), and the space",
        ),
        (
            ["search.sampler=cmaes", "space.mdr.weight=null", *NO_BASELINES, "space.loss.margin=[0.1, 0.2]"],
            "search.sampler: cmaes needs at least two keys that are numbers (ranges), and the space has "
            "mdr.levels.spread: take tpe",
        ),
        (
            ["search.sampler=cmaes", "second_metric=val/map_at_r", "search.scheduler=none"],
            "search.sampler: cmaes has one objective",
        ),
        (["second_metric=val/map_at_r"], "second_metric: needs search.scheduler: none; with asha trials are compared"),
        (["search.folds=3"], "search.folds: needs search: {sampler: grid, scheduler: none}, and not tpe with asha"),
        (
            ["search.folds=3", *PBT],
            "search.folds: needs search: {sampler: grid, scheduler: none}, and not tpe with pbt",
        ),
        (
            [*FOLDS, "search.seeds_per_trial=2"],
            "search.folds: is not for seeds_per_trial: list the seeds of every fold",
        ),
        (
            [*FOLDS, "trial.protocol=paper"],
            "search.folds: protocol: paper trains on all training classes, and holds none",
        ),
        (
            [*FOLDS, "trial.data.validation={fraction: 0.3}"],
            "trial.data.validation.fraction: search.folds says which classes are for validation",
        ),
        (
            ["second_metric=val/map_at_r", "search={sampler: tpe}"],
            "second_metric: needs search.scheduler: none; with asha, the default, trials",
        ),
        (["second_metric=val/map_at_r", "search.scheduler=median"], "with median trials are compared"),
        (["second_metric=val/recall_at_1", "search.scheduler=none"], "second_metric: is the same as metric"),
        (["second_metric=val/speed"], "unknown metric 'val/speed': give val/recall_at_1"),
        (["second_metric=val/recall_at_7"], "second_metric: val/recall_at_7 is not measured on glyphs: there"),
        (["search.scheduler=hyperband", "search.seeds_per_trial=2"], "search.seeds_per_trial: hyperband compares"),
        ([*PBT, "search.seeds_per_trial=2"], "search.seeds_per_trial: pbt compares trials that run side by side"),
        (["space.seed={int: [0, 9]}", "search.seeds_per_trial=2"], "search.seeds_per_trial: the seed is searched"),
        (
            ["search.seeds=[0, 1]"],
            "search.seeds: needs search.scheduler: none; with asha trials have different budgets",
        ),
        (["search={seeds: [0, 1]}"], "search.seeds: needs search.scheduler: none; with asha, the default, trials"),
        ([*SEEDED, "search.seeds_per_trial=2"], "search.seeds_per_trial: search.seeds lists the seeds"),
        (
            ["search.finalists=2"],
            "search.finalists: say how many seeds a finalist has in all: add search.seeds_per_trial",
        ),
        ([*SEEDED, "search.finalists=2"], "search.finalists: search.seeds gives every configuration all seeds: take"),
        ([*GRID, *FINALS], "search.finalists: all configurations of a grid have the same seeds: leave it out"),
        ([*PBT, *FINALS], "each with one seed: leave it out, and search.finalists too, or take asha"),
        (
            [*FINALS, "search.scheduler=none", "second_metric=val/map_at_r"],
            "search.finalists: finalists are the best by one metric: leave it or second_metric out",
        ),
        ([*SEEDED, "trial.seed=3"], "trial.seed: search.seeds lists the seeds"),
        ([*SEEDED, "space.seed=[1, 2]"], "search.seeds: the seed is searched (space.seed)"),
        (["search.scheduler=none", "search.seeds=[4, 1, 4]"], "search.seeds: 4 is listed twice"),
        (["search.scheduler=none", "search.seeds=[]"], "search.seeds: "),
        (["trial.protocol=paper"], "metric: val/recall_at_1 with trial.protocol: paper it is curves/test_..."),
        (["trial.curves=[test]"], "trial.curves: reads the test classes after each epoch: only where nothing is"),
        ([*GRID, "search.scheduler=asha", "trial.curves=[test]"], "trial.curves: reads the test classes"),
        ([*GRID, "search.scheduler=none", "metric=curves/test_recall_at_1"], "metric: curves/test_recall_at_1 needs"),
        (
            ["search.scheduler=none", "second_metric=curves/test_recall_at_1"],
            "second_metric: curves/test_recall_at_1 needs trial.protocol: paper, or trial.curves: [test]",
        ),
        (
            [*GRID, "search.scheduler=none", "trial.protocol=paper", "second_metric=val/map_at_r"],
            "second_metric: val/map_at_r is not measured with trial.protocol: paper: take curves/test_...",
        ),
        ([*GRID, "space.protocol=[paper, validation]"], "space.protocol: trials are compared under one protocol"),
        (
            [*GRID, "search.scheduler=none", "trial.protocol=paper", "metric=curves/test_recall_at_7"],
            "metric: curves/test_recall_at_7 is not measured on glyphs: there curves/test_recall_at_1, curves",
        ),
        (["search.scheduler=hyperband", "space.epochs=[4, 8]"], "space.epochs: cannot be searched with hyperband"),
        ([*PBT, "space.epochs=[4, 8]"], "space.epochs: cannot be searched with pbt"),
        (["search.scheduler={name: median, grace_epochs: 9}"], "grace_epochs: 9 is more than trial.epochs (8)"),
        (["search.scheduler={name: asha, grace_epochs: 9}"], "grace_epochs: 9 is more than trial.epochs (8)"),
        (["search.scheduler={name: asha, grace_epochs: 5}", "space.epochs=[4, 8]"], "5 is more than trial.epochs (4)"),
        (["search.scheduler={name: pbt, interval_epochs: 9}"], "interval_epochs: 9 is more than trial.epochs (8)"),
        (["search.scheduler={name: pbt, quantile: 0.05}"], "quantile: 0.05 of 8 trials is not even one"),
        (["search.scheduler={name: pbt, quantile: 0.6}"], "quantile: must be less than or equal to 0.5, got 0.6"),
        ([*PBT, "search.trials=1"], "search.trials: pbt needs a population of at least 2 trials, and there is 1"),
        (
            [*PBT, "search.baseline_trials=1"],
            "baselines.0: pbt needs a population of at least 2 trials, and of",
        ),
        ([*PBT, "search.baseline_trials=3"], "quantile: 0.25 of 3 trials of triplet is not even one"),
        (["search.scheduler={name: pbt, perturb: []}"], "perturb: name mdr.weight, optimizer.learning_rate or both"),
        (
            ["search.scheduler={name: pbt, perturb: [mdr.weight]}"],
            "perturb: the baselines have no mdr.weight",
        ),
        (
            [*PBT, *NO_BASELINES, "space={mdr: [null, {weight: 0.1}]}", "start_from=[]"],
            "perturb: there are trials",
        ),
        (["search.scheduler=ashaa"], "search.scheduler.name: unknown scheduler 'ashaa'. Did you mean 'asha'?"),
        (["search.scheduler={name: pbt, grace_epochs: 1}"], "search.scheduler.grace_epochs: unknown key."),
        ([*GRID, "start_from={sweep: other}"], "start_from: a grid runs all of its combinations: leave it out"),
        ([*GRID, "search.trials=3"], "search.trials: a grid runs all of its combinations, 2 here: leave it out"),
        (["start_from={sweep: other, best: 11}"], "start_from.best: 11 points, but search.trials is 8"),
        (["start_from={sweep: other, most: 1}"], "start_from.most: unknown key. Known here: best, sweep."),
        (["start_from={best: 1}"], "start_from.sweep: is missing"),
        (["start_from={sweep: other}", "space={}"], "start_from: nothing is searched here"),
        (["start_from=5"], "start_from: expected a list, got 5"),
        (["start_from=[5]"], "start_from.0: expected a mapping, got 5"),
        (["search.stop.time=2x"], "search.stop.time: expected a time such as 90s, 30m, 2h or 1h30m, got '2x'"),
        (["search.stop.time=-5.0"], "search.stop.time: expected a time such as 90s, 30m, 2h or 1h30m, got -5.0"),
        (["search.stop.patience=0"], "search.stop.patience: must be greater than or equal to 1, got 0"),
    ],
)
def test_what_does_not_go_together_is_named(tmp_path: Path, overrides: list[str], what: str) -> None:
    found = problems(tmp_path, MAIN, *overrides)
    assert any(what in line for line in found), found
    assert all(line.startswith(("--set ", "sweep.yaml:")) for line in found)


@pytest.mark.parametrize(
    "overrides",
    [
        ["search.sampler=cmaes", *NO_BASELINES],
        ["search.sampler=cmaes", "space.loss.margin=null", "space.mdr.warmup_epochs={uniform: [0, 1]}"],
        ["search.sampler=gp", "second_metric=time/images_per_s", "search.scheduler=none"],
        ["second_metric=val/map_at_r", "search.scheduler=none", "search.seeds_per_trial=2", "search.stop.target=50.0"],
        ["search.sampler=qmc", "search.scheduler=hyperband"],
        [*PBT],
        ["search.scheduler={name: pbt, perturb: [optimizer.learning_rate]}"],
        ["search.scheduler=median", "search.seeds_per_trial=3"],
        FINALS,
        [*GRID],
        [*GRID, "search.stop.patience=2"],
        ["start_from={sweep: other}"],
        ["search.stop={time: 1h30m, gpu_hours: 2.0, target: 90.0, patience: 5}"],
    ],
)
def test_what_goes_together_is_read(tmp_path: Path, overrides: list[str]) -> None:
    assert read(tmp_path, MAIN, *overrides).name == "mdr_levels"


def test_a_warm_start_and_a_time_are_read(tmp_path: Path) -> None:
    sweep = read(tmp_path, MAIN, "start_from={sweep: other, best: 3}", "search.stop.time=2h", "trial.loss.margin=0.3")
    assert sweep.start_from == WarmStartConfig(sweep="other", best=3)
    assert sweep.search.stop.time == 7200.0


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("[0.05, 0.5]", "[0.5, 0.05]", 4, "space.loss.0.margin: uniform: [0.5, 0.05] is reversed"),
        ("[0.05, 0.5]", "[-0.1, 0.5]", 4, "space.loss.0.margin: must be greater than or equal to 0, got -0.1"),
        ("{uniform: [0.05", "{unifrm: [0.05", 4, "space.loss.0.margin.unifrm: unknown key. Did you mean 'uniform'?"),
        ("margin:", "margn:", 4, "space.loss.0.margn: unknown key. Did you mean 'margin'?"),
        ("{uniform: [0.05, 0.5]}", "[0.1, 0.2]", 4, "got [0.1, 0.2]; inside of a choice write {choice: [...]}"),
        ("arcface", "arcfac", 5, "space.loss.1.name: unknown loss 'arcfac'. Did you mean 'arcface'?"),
        ("[8, 64]", "[0, 64]", 6, "space.loss.1.scale: loguniform: [0.0, 64.0] must start above 0"),
        (
            "scale: {loguniform: [8, 64]}",
            "scale: {choice: [8, x]}",
            6,
            "space.loss.1.scale: expected a number, got 'x'",
        ),
        ("[0.01, 1]", "[1, 0.01]", 7, "space.mdr.choice.1.weight: loguniform: [1.0, 0.01] is reversed"),
        ("[2, 3]", "[0, 3]", 7, "space.mdr.1.levels.count: must be greater than or equal to 1, got 0"),
        ("{uniform: [1, 5]}", "{uniform: [-1, 5]}", 7, "space.mdr.1.levels.spread: must be greater than or equal to 0"),
        ("spread: {unif", "spred: {unif", 7, "space.mdr.choice.1.levels.spread: is missing"),
    ],
)
def test_a_mistake_inside_of_a_choice_has_its_own_line(
    tmp_path: Path, old: str, new: str, line: int, what: str
) -> None:
    assert CONDITIONAL.count(old) == 1
    found = problems(tmp_path, CONDITIONAL.replace(old, new))
    assert any(text.startswith(f"sweep.yaml:{line}: ") and what in text for text in found), found


def test_one_mistake_is_told_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, CONDITIONAL.replace("name: arcface", "name: arcfac"))) == 1


def test_keys_inside_of_choices_go_with_most_searches_but_not_with_cma_es(tmp_path: Path) -> None:
    for sampler in ("tpe", "gp", "random", "qmc"):
        assert read(tmp_path, CONDITIONAL, f"search.sampler={sampler}").search.sampler == sampler
    assert "search.sampler: cmaes cannot search keys that exist only with some choice: take tpe" in "".join(
        problems(tmp_path, CONDITIONAL, "search.sampler=cmaes")
    )
    grid = problems(tmp_path, CONDITIONAL, "search.sampler=grid")
    assert "space: loss.margin: a grid needs values, {choice: [...]}, not the range 0.05 to 0.5" in grid[0]


def test_a_branch_is_tried_with_its_own_values_only(tmp_path: Path) -> None:
    text = (
        "name: x\ntrial: {embedding: {mode: l2}}\nspace:\n"
        "  loss: [{name: triplet, margin: {uniform: [0.1, 2]}}, {name: arcface, margin: {uniform: [20, 40]}}]\n"
    )
    assert read(tmp_path, text).name == "x"
    found = problems(tmp_path, text.replace("[0.1, 2]", "[0.1, 3]"))
    assert len(found) == 1
    assert "space.loss.0.margin: 3.0 cannot be met with embedding.mode l2" in found[0]


def test_choices_that_do_not_go_together_are_found_whatever_is_inside(tmp_path: Path) -> None:
    text = (
        "name: x\nspace:\n  loss: [triplet, {name: arcface, scale: {uniform: [8, 9]}}]\n"
        "  embedding.mode: [rescale, l2]\n"
    )
    (found,) = problems(tmp_path, text)
    assert "space: loss arcface, embedding.mode rescale do not go together: embedding.mode: rescale" in found


def test_set_takes_the_keys_inside_of_a_choice_out_of_the_points_too(tmp_path: Path) -> None:
    points = "start_from: [{loss: triplet, loss.margin: 0.2, mdr: null}]\n"
    sweep = read(tmp_path, CONDITIONAL + points, "trial.loss=triplet")
    assert (list(sweep.space), sweep.start_from) == (["mdr"], [{"mdr": None}])


def test_the_seeds_of_an_ablation_are_those_of_every_arm(tmp_path: Path) -> None:
    sweep = read(tmp_path, MAIN, "search.scheduler=none", "search.seeds=[5, 3, 8]")
    assert sweep.training_seeds == [5, 3, 8]
    assert [arm.trial.seed for arm in arms(sweep)] == [5, 5, 5]
    assert read(tmp_path, MAIN, "trial.seed=4", "search.seeds_per_trial=3").training_seeds == [4, 5, 6]


def test_the_protocol_of_the_paper_maximises_its_own_metric(tmp_path: Path) -> None:
    text = MAIN.replace("metric: val/recall_at_1\n", "")
    grid = [*GRID, "search.scheduler=none", "trial.protocol=paper"]
    assert read(tmp_path, text, *grid).metric == "curves/test_recall_at_1"
    assert read(tmp_path, text, *grid, "metric=curves/test_map_at_r").metric == "curves/test_map_at_r"
    assert read(tmp_path, text).metric == "val/recall_at_1"
