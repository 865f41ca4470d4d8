"""Change a value as population based training does (Jaderberg et al., 2017, section 4.1.1)."""

import math
import random
from typing import Any

from mdr_tune.config.space import Domain, Parameter

FACTORS = (0.8, 1.2)


def draw(domain: Domain, generator: random.Random) -> Any:
    """Draw a value from `domain` with `generator`: uniformly, or log-uniformly from a `loguniform` range."""
    if domain.choice is not None:
        return generator.choice(domain.choice)
    low, high = domain.probes()
    if domain.int is not None:
        return generator.randint(low, high)
    if domain.loguniform is not None:
        low, high = math.log(low), math.log(high)
        return _clip(math.exp(generator.uniform(low, high)), domain)
    return generator.uniform(low, high)


def domain_of(tree: tuple[Parameter, ...], key: str, parameters: dict[str, Any]) -> Domain | None:
    """Return the domain that a trial's value at the dotted `key` was drawn from; None if the value was not drawn.

    `tree` has the parameters of the search space, and `parameters` the values that were drawn for the trial, by dotted
    key. If a section is a choice, only the branch that the trial took is looked into.
    """
    for parameter in tree:
        if parameter.key == key and parameter.is_drawn:
            return parameter.domain
        if parameter.branches and (not parameter.is_drawn or parameter.key in parameters):
            branch = parameter.of_label(parameters[parameter.key]) if parameter.is_drawn else parameter.branches[0]
            found = domain_of(branch.children, key, parameters)
            if found is not None:
                return found
    return None


def perturb(value: float, domain: Domain | None, resample: float, generator: random.Random) -> Any:
    """Return the number `value` times 0.8 or 1.2, or, with probability `resample`, a new draw from `domain`.

    If the domain is a list of choices, the value becomes the next smaller or the next larger choice instead of a
    product. The result stays inside the domain. A `domain` of None means that the value is not searched; it is then
    multiplied, without limits. The result depends only on the arguments and the state of `generator`.
    """
    if domain is not None and generator.random() < resample:
        return draw(domain, generator)
    factor = generator.choice(FACTORS)
    if domain is None:
        return value * factor
    if domain.choice is None:
        return _clip(value * factor, domain)
    ordered = sorted(domain.choice)
    place = ordered.index(value) + (1 if factor > 1 else -1)
    return ordered[min(max(place, 0), len(ordered) - 1)]


def _clip(value: float, domain: Domain) -> float:
    low, high = domain.probes()
    return float(min(max(value, low), high))
