"""Convert the parameters of a search space to Optuna's distributions."""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdr_tune.config.domains import Space
from mdr_tune.config.space import Parameter, parameter_tree, walk


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution for each drawn parameter of `space`, by the parameter's name in the study."""
    return {parameter.name: distribution(parameter) for parameter in walk(parameter_tree(space))}


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's distribution for `parameter`."""
    domain = parameter.domain
    if domain.choice is not None:
        return CategoricalDistribution([branch.stored for branch in parameter.branches])
    if domain.int is not None:
        low, high = domain.int
        return IntDistribution(low, high)
    lowest, highest = domain.probes()
    return FloatDistribution(lowest, highest, log=domain.loguniform is not None)


def value_at(found: BaseDistribution, u: float) -> Any:
    """Return the value at quantile `u` of the distribution `found`. `u` is in [0, 1)."""
    if isinstance(found, CategoricalDistribution):
        return found.choices[int(u * len(found.choices))]
    if isinstance(found, IntDistribution):
        return found.low + int(u * (found.high - found.low + 1))
    assert isinstance(found, FloatDistribution)
    if found.log:
        value = float(np.exp(np.log(found.low) + u * (np.log(found.high) - np.log(found.low))))
    else:
        value = float(found.low + u * (found.high - found.low))
    return min(max(value, found.low), found.high)  # rounding may leave the range
