"""How population based training changes a value (Jaderberg et al., 2017, section 4.1.1)."""

import math
import random
from typing import Any

from mdr_tune.config.space import Domain, Parameter

FACTORS = (0.8, 1.2)


def draw(domain: Domain, generator: random.Random) -> Any:
    """Return a value of `domain`, as a search draws it."""
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
    """Return what a trial's `key` was drawn from, None if it was not drawn.

    Args:
        tree: The space.
        key: The trial's dotted key.
        parameters: What was drawn for the trial; of a choice, only the branch that it took is looked into.
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
    """Return another value: a factor of 0.8 or 1.2 of it, or, where it is searched, sometimes one drawn anew.

    Args:
        value: A number.
        domain: What is searched, which the result does not leave: a choice becomes its neighbour by size. None: the
            value is not searched, and multiplied.
        resample: Probability of a draw.
        generator: What is drawn from; always the same number of draws for the same arguments.
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
