"""Checks of a search: its sampler, scheduler, seeds and metrics must fit each other and the search space."""

from mdr_tune.config.arms import Arm, arms
from mdr_tune.config.samplers import SAMPLERS
from mdr_tune.config.schedulers import AshaSchedulerConfig, MedianSchedulerConfig, PbtSchedulerConfig
from mdr_tune.config.space import grid_points, is_conditional, searched, section_variants
from mdr_tune.config.space_checks import Problems
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.util.words import count


def search_problems(sweep: SweepConfig) -> Problems:
    """Return the problems of the sampler, scheduler, seeds and metrics of `sweep`. Its space must have no problem."""
    grid = _grid_problems(sweep)
    problems = grid + _sampler_problems(sweep) + _second_metric_problems(sweep) + _scheduler_problems(sweep)
    return problems + _seeds_problems(sweep) + _test_curve_problems(sweep)


def _seeds_problems(sweep: SweepConfig) -> Problems:
    search = sweep.search
    problems: Problems = []
    for key, given in (("seeds_per_trial", search.seeds_per_trial > 1), ("seeds", search.seeds is not None)):
        if given and "seed" in sweep.space:
            message = "the seed is searched (space.seed), so that a trial has one: take out one of the two"
            problems.append((("search", key), message))
    problems += _finalists_problems(sweep) + _folds_problems(sweep)
    if search.seeds is None:
        return problems
    if "seeds_per_trial" in search.model_fields_set:
        problems.append((("search", "seeds_per_trial"), "search.seeds lists the seeds: take out one of the two"))
    if "seed" in sweep.trial.model_fields_set:
        problems.append((("trial", "seed"), "search.seeds lists the seeds: take out one of the two"))
    if search.scheduler.name != "none":
        default = "" if "scheduler" in search.model_fields_set else ", the default,"
        message = (
            f"needs search.scheduler: none; with {search.scheduler.name}{default} trials have different budgets, and a "
            "mean over seeds would be of none of them. For further seeds of survivors take seeds_per_trial"
        )
        problems.append((("search", "seeds"), message))
    return problems


def _folds_problems(sweep: SweepConfig) -> Problems:
    """Return the problems of `search.folds` of `sweep` with other keys; how many classes there are is checked later."""
    search, given = sweep.search, getattr(sweep.trial.data, "validation", None)
    if search.folds is None:
        return []
    path = ("search", "folds")
    problems: Problems = []
    if not sweep.is_ablation:
        message = (
            f"needs search: {{sampler: grid, scheduler: none}}, and not {search.sampler} with {search.scheduler.name}: "
            "every configuration is trained in all folds, to its end"
        )
        problems.append((path, message))
    if search.seeds_per_trial > 1:
        problems.append((path, "is not for seeds_per_trial: list the seeds of every fold in search.seeds: [0, 1, 2]"))
    if "paper" in section_variants(sweep.trial, sweep.space, "protocol"):
        message = "protocol: paper trains on all training classes, and holds none out: set trial.protocol: validation"
        problems.append((path, message))
    if varied := next((key for key in sweep.space if key == "data" or key.startswith("data.validation")), None):
        problems.append((("space", varied), "is not varied with search.folds, which makes the validation classes"))
    for key in sorted({"fraction", "folds", "fold"} & (given.model_fields_set if given is not None else set())):
        message = "search.folds says which classes are for validation: take out one of the two, seed may stay"
        problems.append((("trial", "data", "validation", key), message))
    return problems


def _finalists_problems(sweep: SweepConfig) -> Problems:
    search = sweep.search
    if search.finalists is None:
        return []
    texts = []
    if search.sampler_class.lists_all:
        texts.append("all configurations of a grid have the same seeds: leave it out")
    elif search.seeds is not None:
        texts.append("search.seeds gives every configuration all seeds: take seeds_per_trial in place of it")
    elif search.seeds_per_trial == 1:
        texts.append("say how many seeds a finalist has in all: add search.seeds_per_trial, such as 3")
    if sweep.second_metric is not None:
        texts.append("finalists are the best by one metric: leave it or second_metric out")
    return [(("search", "finalists"), text) for text in texts]


def _test_curve_problems(sweep: SweepConfig) -> Problems:
    """Return the problems with `protocol: paper` and `curves: [test]`, which read the test classes after each epoch.

    Such a sweep must be an ablation, so that no trial is chosen by its test results. All trials must have the same
    protocol, and that protocol must measure the metric.
    """
    paper = {protocol == "paper" for protocol in section_variants(sweep.trial, sweep.space, "protocol")}
    if len(paper) > 1:
        return [(("space", "protocol"), "trials are compared under one protocol: set trial.protocol instead")]
    problems: Problems = []
    of_test = sweep.metric.startswith("curves/")
    if of_test != (True in paper):
        message = "needs trial.protocol: paper" if of_test else "with trial.protocol: paper it is curves/test_..."
        problems.append((("metric",), f"{sweep.metric} {message}"))
    curves = {split for chosen in section_variants(sweep.trial, sweep.space, "curves") for split in chosen}
    second = sweep.second_metric or ""
    if second.startswith("curves/") and True not in paper and "test" not in curves:
        problems.append((("second_metric",), f"{second} needs trial.protocol: paper, or trial.curves: [test]"))
    if second.startswith("val/") and True in paper:
        message = f"{second} is not measured with trial.protocol: paper: take curves/test_..."
        problems.append((("second_metric",), message))
    for key, given in (("protocol", True in paper), ("curves", "test" in curves)):
        if given and not sweep.is_ablation:
            message = (
                "reads the test classes after each epoch: only where nothing is searched and all trials run to their "
                "end (search: {sampler: grid, scheduler: none})"
            )
            problems.append((("trial", key), message))
    return problems


def _grid_problems(sweep: SweepConfig) -> Problems:
    """Return the problems of the grid of `sweep`: it is infinite, or a key sets the trials' number, order or seed."""
    if not sweep.search.sampler_class.lists_all:
        return []
    try:
        size = len(grid_points(sweep.space))
    except ValueError as error:
        return [(("space",), str(error))]
    problems: Problems = [
        (("search", key), f"a grid runs all of its combinations, {size} here: leave it out")
        for key in ("trials", "baseline_trials")
        if key in sweep.search.model_fields_set
    ]
    if "seed" in sweep.space:
        message = "the seeds of a grid are search.seeds: [0, 1, 2], of which the table has means and intervals"
        problems.append((("space", "seed"), message))
    if sweep.start_from:
        problems.append((("start_from",), "a grid runs all of its combinations: leave it out"))
    return problems


def _sampler_problems(sweep: SweepConfig) -> Problems:
    """Return a problem if the sampler of `sweep` cannot search the space of an arm, or cannot take a second metric."""
    sampler, path = sweep.search.sampler_class, ("search", "sampler")
    if sweep.second_metric is not None and sampler.has_one_objective:
        *others, last = (name for name, other in SAMPLERS.items() if not other.has_one_objective)
        take = f"{', '.join(others)} or {last}"
        return [(path, f"{sampler.name} has one objective; with second_metric take {take}")]
    if not sampler.needs_two_numbers:
        return []
    if is_conditional(sweep.space):
        return [(path, f"{sampler.name} cannot search keys that exist only with some choice: take tpe")]
    problems: Problems = []
    for arm, place in _arms_with_place(sweep, path):
        numbers = [key for key, domain in searched(arm.space).items() if domain.choice is None]
        if len(numbers) < 2 and (searched(arm.space) or place == path):
            there = f"the space{_of_baseline(arm, place)} has {', '.join(numbers) or 'none'}"
            needs = f"{sampler.name} needs at least two keys that are numbers (ranges)"
            problems.append((place, f"{needs}, and {there}: take tpe"))
    return problems


def _second_metric_problems(sweep: SweepConfig) -> Problems:
    if sweep.second_metric is None:
        return []
    problems: Problems = []
    if sweep.second_metric == sweep.metric:
        problems.append((("second_metric",), "is the same as metric: leave it out, or give another"))
    scheduler = sweep.search.scheduler.name
    if scheduler != "none":
        default = "" if "scheduler" in sweep.search.model_fields_set else ", the default,"
        message = (
            f"needs search.scheduler: none; with {scheduler}{default} trials are compared by one metric before their "
            "end, and those that are stopped have no values to compare"
        )
        problems.append((("second_metric",), message))
    return problems


def _scheduler_problems(sweep: SweepConfig) -> Problems:
    scheduler = sweep.search.scheduler
    path = ("search", "scheduler")
    fewest = min(section_variants(sweep.trial, sweep.space, "epochs"))
    problems: Problems = []
    if scheduler.waits:
        if sweep.search.seeds_per_trial > 1:
            too = "" if sweep.search.finalists is None else ", and search.finalists too"
            message = (
                f"{scheduler.name} compares trials that run side by side, each with one seed: leave it out{too}, or "
                "take asha, median or none"
            )
            problems.append((("search", "seeds_per_trial"), message))
        if "epochs" in searched(sweep.space):
            message = f"cannot be searched with {scheduler.name}, which compares trials at the same epochs"
            problems.append((("space", "epochs"), message))
    elif isinstance(scheduler, AshaSchedulerConfig | MedianSchedulerConfig) and scheduler.grace_epochs > fewest:
        problems.append(((*path, "grace_epochs"), f"{scheduler.grace_epochs} is more than trial.epochs ({fewest})"))
    if isinstance(scheduler, PbtSchedulerConfig):
        problems += _pbt_problems(sweep, scheduler, fewest)
    return problems


def _pbt_problems(sweep: SweepConfig, scheduler: PbtSchedulerConfig, epochs: int) -> Problems:
    path = ("search", "scheduler")
    problems: Problems = []
    without_mdr = any(mdr is None for mdr in section_variants(sweep.trial, sweep.space, "mdr"))
    if "mdr.weight" in scheduler.perturb and without_mdr:
        problems.append(((*path, "perturb"), "there are trials without MDR: perturb [optimizer.learning_rate] alone"))
    elif scheduler.perturb == ["mdr.weight"] and sweep.baselines:
        message = "the baselines have no mdr.weight to perturb: add optimizer.learning_rate, or leave baselines out"
        problems.append(((*path, "perturb"), message))
    if scheduler.interval_epochs > epochs:
        message = f"{scheduler.interval_epochs} is more than trial.epochs ({epochs})"
        problems.append(((*path, "interval_epochs"), message))
    for arm, place in _arms_with_place(sweep, ("search", "trials")):
        of_baseline = _of_baseline(arm, place)
        if arm.trials < 2:
            problems.append((place, f"pbt needs a population of at least 2 trials, and{of_baseline} there is 1"))
        elif arm.trials * scheduler.quantile < 1:
            share = f"{scheduler.quantile:g} of {count(arm.trials, 'trial')}{of_baseline}"
            message = f"{share} is not even one: none would be replaced"
            problems.append(((*path, "quantile"), message))
    return problems


def _arms_with_place(sweep: SweepConfig, main: tuple[str, ...]) -> list[tuple[Arm, tuple[str, ...]]]:
    """Return each arm of `sweep` with the path of the key at which its problems are shown: `main` for the main arm.

    The list is empty if an arm is not valid. `sweep_checks` reports that problem.
    """
    try:
        found = arms(sweep)
    except (ValueError, KeyError):  # reported by `sweep_checks`
        found = []
    places = [main, *(("baselines", str(i)) for i in range(len(sweep.baselines)))]
    return list(zip(found, places, strict=False))


def _of_baseline(arm: Arm, place: tuple[str, ...]) -> str:
    return f" of {arm.name}" if place[0] == "baselines" else ""
