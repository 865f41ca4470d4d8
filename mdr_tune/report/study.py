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
"""Parameters whose distribution is always logarithmic."""
LOG_RATIO = 30.0
"""Ratio of the largest to the smallest value from which on the distribution of any other parameter is logarithmic."""
LONGEST_CHOICE = 22
TARGET_QUANTILE = 0.25
EVALUATOR = "PED-ANOVA, best quarter of the trials"
"""Name of the method that computes importances, as the figure shows it.

Optuna 5 also uses PED-ANOVA by default, but looks at the best tenth of the trials. In a search of this size, that is
one or two trials. The methods were compared on simulated searches of 12 to 60 trials whose most important parameter is
known. With the best quarter, this parameter came out first in 8 of 8 searches; with the best tenth and with fANOVA, in
5 to 8 of 8.
"""
MIN_FOR_CONDITIONAL = 30
"""Number of trials from which on parameters that only some trials have get an importance.

In the same simulated searches, a trial had a margin or a scale, depending on its loss. With 12 and 16 trials, these two
parameters wrongly came out before the most important one; with 30 trials they did not.
"""


def make_study(found: AtBudget) -> optuna.Study:
    """Return a study with a finished trial for each compared trial. Parameters with only one value are left out."""
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
    """Return the share of each parameter in the variation of the first objective, the largest first.

    The shares sum to 1. A parameter that only some trials have is included from `MIN_FOR_CONDITIONAL` trials on. The
    result is empty if no parameter is included.
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
    """Return the names of all parameters that vary, the most important first. Those without an importance are last."""
    names = dict.fromkeys(name for trial in study.trials for name in trial.params)
    return list(dict.fromkeys([*importances(study), *names]))


def distribution_of(key: str, values: list[Any]) -> BaseDistribution:
    """Return a distribution over the values of a parameter: a range for numbers, a list of choices for other values.

    A range is logarithmic for the keys in `LOG_KEYS`, and if the ratio of its ends is at least `LOG_RATIO`. It is never
    logarithmic if a value is not positive.
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
    """Return a short name of each different value, by the value's `repr`.

    Long names are cut. Names that the cut makes equal are numbered.
    """
    different = {repr(value): value for value in values}
    texts = [_cut(text) for text in tell_apart(list(different.values()), describe_value)]
    numbered = [_cut(f"{i}: {text}") if texts.count(text) > 1 else text for i, text in enumerate(texts, 1)]
    return dict(zip(different, numbered, strict=True))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CHOICE else text[: LONGEST_CHOICE - 1] + "…"
