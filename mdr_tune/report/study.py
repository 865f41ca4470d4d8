"""Turn recorded trials into an Optuna study in memory, for Optuna's importances and plots.

Parameters have short names in the study. Their distributions are derived from the values of the trials, because records
do not contain the search space.
"""

import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from mdr_tune.config.domains import describe_value, tell_apart
from mdr_tune.report.budget import AtBudget
from mdr_tune.report.names import short_names

LOG_KEYS = ("mdr.weight", "optimizer.learning_rate", "optimizer.head_learning_rate", "optimizer.weight_decay")
"""Parameters whose distribution is logarithmic whenever all of its values are positive."""
LOG_RATIO = 30.0
"""Ratio of the largest to the smallest value from which on the distribution of any other parameter is logarithmic."""
LONGEST_CHOICE = 22
TARGET_QUANTILE = 0.25
EVALUATOR = "PED-ANOVA, best quarter of the trials"
"""Name of the method that computes importances, as the figure shows it.

By default, Optuna 5 looks at the best tenth of the trials, which is one or two trials in a search of this size. In
simulated searches of 12 to 60 trials with a known most important parameter, the best quarter ranked this parameter
first in 8 of 8 searches, the best tenth and fANOVA in 5 to 8 of 8.
"""
MIN_FOR_CONDITIONAL = 30
"""Number of trials from which on parameters that only some trials have get an importance.

In simulated searches, such parameters (a margin or a scale, depending on the loss) wrongly came out before the most
important one with 12 and 16 trials, but not with 30.
"""


def make_study(found: AtBudget) -> optuna.Study:
    """Return an Optuna study with the compared trials in `found`. Parameters with a single value are left out."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize"] * len(found.values[0]))
    keys = list(dict.fromkeys(key for record in found.records for key in record.parameters))
    names = short_names(keys)
    values = {key: [r.parameters[key] for r in found.records if key in r.parameters] for key in keys}
    distributions = {key: distribution_of(key, values[key]) for key in keys if _varies(values[key])}
    said = {key: choices_in_words(values[key]) for key in keys}
    for record, objectives in zip(found.records, found.values, strict=True):
        params = {
            names[key]: _stored(distribution, record.parameters[key], said[key])
            for key, distribution in distributions.items()
            if key in record.parameters
        }
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions={names[key]: d for key, d in distributions.items() if key in record.parameters},
                values=objectives,
                user_attrs={"name": record.name},
            )
        )
    return study


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of each parameter of `study` in the variation of the first objective, the largest first.

    The shares sum to 1. With fewer than `MIN_FOR_CONDITIONAL` trials, parameters that some trials lack are left out.
    """
    names = list(dict.fromkeys(name for trial in study.trials for name in trial.params))
    if len(study.trials) < MIN_FOR_CONDITIONAL:
        names = [name for name in names if all(name in trial.params for trial in study.trials)]
    if not names:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that low targets count as good: see below
        return get_param_importances(study, evaluator=evaluator, params=names, target=_lower_is_better)


def _lower_is_better(trial: optuna.trial.FrozenTrial) -> float:
    return -float(trial.values[0])


def by_importance(study: optuna.Study) -> list[str]:
    """Return the parameters of `study` that vary, the most important first. Those without an importance are last."""
    names = dict.fromkeys(name for trial in study.trials for name in trial.params)
    return list(dict.fromkeys([*importances(study), *names]))


def distribution_of(key: str, values: list[Any]) -> BaseDistribution:
    """Return a distribution over the `values` of the parameter `key`: a range for numbers, else a list of choices.

    A range of positive numbers is logarithmic for the keys in `LOG_KEYS`, or if the ratio of its ends is at least
    `LOG_RATIO`.
    """
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return CategoricalDistribution(list(choices_in_words(values).values()))
    low, high = min(values), max(values)
    log = low > 0 and (key in LOG_KEYS or high / low >= LOG_RATIO)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _varies(values: list[Any]) -> bool:
    return any(value != values[0] for value in values)


def _stored(distribution: BaseDistribution, value: Any, said: dict[str, str]) -> Any:
    return said[repr(value)] if isinstance(distribution, CategoricalDistribution) else value


def choices_in_words(values: list[Any]) -> dict[str, str]:
    """Return a short name for each value in `values`, by the value's `repr`. Names that would be equal get numbers."""
    different = {repr(value): value for value in values}
    texts = [_cut(text) for text in tell_apart(list(different.values()), describe_value)]
    numbered = [_cut(f"{i}: {text}") if texts.count(text) > 1 else text for i, text in enumerate(texts, 1)]
    return dict(zip(different, numbered, strict=True))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CHOICE else text[: LONGEST_CHOICE - 1] + "…"
