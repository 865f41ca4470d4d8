"""Checks of a sweep that involve several keys: points to start from, metrics, data, baselines, workers."""

import re

from pydantic import ValidationError

from mdr_tune.config.arms import baseline_names, baseline_space, baseline_trial, given_points, trial_of_point
from mdr_tune.config.chosen_metrics import asking_for
from mdr_tune.config.explain import explain
from mdr_tune.config.losses import Loss
from mdr_tune.config.space import searched, section_variants
from mdr_tune.config.space_checks import Problems, domain_problems
from mdr_tune.config.strict_model import members
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.objectives import recall_rank
from mdr_tune.util.import_path import short_name
from mdr_tune.util.nearest_name import LIBRARY_PREFIX, did_you_mean


def sweep_problems(sweep: SweepConfig) -> Problems:
    """Return the problems of keys of `sweep` that do not fit keys of other sections. The search space must be valid."""
    return (
        _start_problems(sweep)
        + _metric_problems(sweep)
        + _image_problems(sweep)
        + _baseline_problems(sweep)
        + _worker_problems(sweep)
    )


def _start_problems(sweep: SweepConfig) -> Problems:
    problems: Problems = []
    for i, point in enumerate(given_points(sweep)):
        try:
            trial_of_point(sweep, point)
        except ValidationError as error:
            key, message = explain(error, TrialConfig)[0]
            problems.append((("start_from", str(i)), f"{'.'.join(key)}: {message}"))
        except (ValueError, TypeError) as error:
            problems.append((("start_from", str(i)), str(error)))
    if sweep.search.sampler_class.lists_all:
        return problems  # a grid takes no points to start from, see `search_checks`
    points, trials = sweep.start_from, sweep.search.trials
    if not isinstance(points, list):
        if not searched(sweep.space):
            problems.append((("start_from",), "nothing is searched here that another sweep could have values for"))
        elif points.best > trials:
            problems.append((("start_from", "best"), f"{points.best} points, but search.trials is {trials}"))
    elif len(points) > trials and searched(sweep.space):
        problems.append((("start_from",), f"{len(points)} points, but search.trials is {trials}"))
    return problems


def _metric_problems(sweep: SweepConfig) -> Problems:
    """Return a problem for each metric that is not measured on all data sets of the sweep."""
    problems: Problems = []
    for key, metric in (("metric", sweep.metric), ("second_metric", sweep.second_metric or "")):
        rank = recall_rank(metric)
        for data in section_variants(sweep.trial, sweep.space, "data"):
            if rank is not None and rank not in data.recall_ks:
                known = ", ".join(f"{metric.removesuffix(str(rank))}{k}" for k in data.recall_ks)
                problems.append(((key,), f"{metric} is not measured on {data.name}: there {known}"))
                break
        name = re.sub("^(val/|curves/test_)", "", metric)
        ask = asking_for(name) if rank is None else None
        if ask is not None and name not in sweep.trial.metrics.names():
            problems.append(((key,), f"{metric} is measured on request: add {ask} to trial.metrics"))
    return problems


def _image_problems(sweep: SweepConfig) -> Problems:
    """Return a problem if trials of `sweep` are measured on different images: the easiest images would win."""
    measured_on = [data.measured_on() for data in section_variants(sweep.trial, sweep.space, "data")]
    if all(one == measured_on[0] for one in measured_on):
        return []
    differ = sorted({key for one in measured_on for key in one if one[key] != measured_on[0].get(key)} - {"name"})
    searched_keys = [key for key in sweep.space if key == "data" or key.startswith("data.")]
    key = next((f"data.{name}" for name in differ if f"data.{name}" in sweep.space), searched_keys[0])
    message = (
        "trials of a sweep are compared on the same images, and the easiest would win here: launch once for each "
        f"value, with --set trial.{key}=VALUE --name NAME"
    )
    return [(("space", key), message)]


def _baseline_problems(sweep: SweepConfig) -> Problems:
    problems: Problems = []
    known = baseline_names(sweep.trial)
    for i, name in enumerate(sweep.baselines):
        path = ("baselines", str(i))
        if name not in known:
            problems.append((path, _unknown_baseline(sweep, name, list(known))))
        elif sweep.trial.mdr is None:
            problems.append((path, "there is no MDR to compare with: trial.mdr is null"))
        elif not {"loss", "mdr", "embedding"}.isdisjoint(sweep.space):
            message = (
                "there are none where loss, mdr or embedding is searched as a whole: list null among the choices of mdr"
            )
            problems.append((path, message))
        elif name in sweep.baselines[:i]:
            problems.append((path, f"{name} is listed twice"))
        else:
            problems += [(path, f"{name}: {text}") for text in _problems_of_baseline(sweep, name)]
    return problems


def _unknown_baseline(sweep: SweepConfig, name: str, known: list[str]) -> str:
    own = short_name(sweep.trial.loss.name)
    message = f"unknown baseline {name!r}; with loss {own} there are: {', '.join(known)}."
    other = name.removesuffix("_l2")
    if other in members(Loss) or other.startswith(LIBRARY_PREFIX):
        return (
            f"{message} A baseline is this loss without MDR. To compare losses search them, without baselines: "
            f"space: {{loss: [{own}, {other}], mdr: [null, {{weight: 0.1}}]}}"
        )
    return message + did_you_mean(name, known)


def _problems_of_baseline(sweep: SweepConfig, name: str) -> list[str]:
    """Return the problems that the changes of the baseline `name` cause in the trial or in the space of `sweep`."""
    space = baseline_space(sweep.space)
    try:
        trial = baseline_trial(sweep.trial, name)
    except ValidationError as error:
        return [f"{'.'.join(path)}: {message}" for path, message in explain(error, TrialConfig)]
    found = [problem for key, domain in space.items() for problem in domain_problems(trial, key, domain)]
    return [f"{'.'.join(path[1:])}: {message}" for path, message in found]


def _worker_problems(sweep: SweepConfig) -> Problems:
    workers = sweep.resources.workers_per_trial
    batch = min(batch.size for batch in section_variants(sweep.trial, sweep.space, "batch"))
    if workers == "auto" or workers <= batch:
        return []
    return [(("resources", "workers_per_trial"), f"{workers} workers cannot share a batch of {batch} images")]
