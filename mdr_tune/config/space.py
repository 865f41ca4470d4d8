"""The search space: which keys of a trial are searched, over which values, and how a sample becomes a trial.

A domain is written as one of

    {uniform: [low, high]}      {loguniform: [low, high]}      {int: [low, high]}      {choice: [a, b, ...]}

and the levels of MDR, which are a list, by the parameters of an even grid (see `trial.LevelGrid`):

    mdr.levels: {count: [2, 3, 5], spread: {uniform: [1, 5]}, offset: {uniform: [-1, 1]}}

A section is searched as a whole where its keys depend on each other: `loss: {choice: [triplet, {name: contrastive}]}`.
"""

import itertools
import json
import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mdr_tune.config.base import StrictModel, flatten, set_dotted, tag
from mdr_tune.config.losses import LibraryLossConfig
from mdr_tune.config.trial import LevelGrid, MDRConfig, TrialConfig

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
IntRange = Annotated[list[int], Field(min_length=2, max_length=2)]


class Domain(StrictModel):
    """The values of one searched key; exactly one of the fields is given."""

    uniform: Range | None = None
    loguniform: Range | None = None
    int: IntRange | None = None
    choice: Annotated[list[Any], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_valid_kind(self) -> "Domain":
        given = [kind for kind in ("uniform", "loguniform", "int", "choice") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform, loguniform, int, choice")
        if given[0] != "choice":
            low, high = getattr(self, given[0])
            if low >= high:
                state = "empty" if low == high else "reversed"
                raise ValueError(f"{given[0]}: [{low}, {high}] is {state}: the first number must be the smaller")
            if given[0] == "loguniform" and low <= 0:
                raise ValueError(f"loguniform: [{low}, {high}] must start above 0")
        else:
            _check_choices(self.choice or [])
        return self

    def probes(self) -> list[Any]:
        """Return the values at which validity for a trial is checked: both ends, or every choice."""
        return list(self.uniform or self.loguniform or self.int or self.choice or [])

    def contains(self, value: Any) -> bool:
        """Say whether `value` can be drawn."""
        if self.choice is not None:
            return value in self.choice
        low, high = self.probes()
        return isinstance(value, int | float) and low <= value <= high

    def encode(self, value: Any) -> Any:
        """Return `value` as Optuna stores it: choices that are no scalars become JSON text."""
        if self.choice is not None and any(isinstance(c, list | dict) for c in self.choice):
            return json.dumps(self.choice[self.choice.index(value)])  # as the file writes it: [-3] and [-3.0] are equal
        return value

    def decode(self, stored: Any) -> Any:
        """Invert `encode`."""
        if self.choice is not None and any(isinstance(c, list | dict) for c in self.choice):
            return json.loads(stored)
        return stored

    def describe(self) -> str:
        """Return the domain as a user would say it."""
        if self.choice is not None:
            return "one of " + ", ".join(map(describe_value, self.choice))
        low, high = self.probes()
        scale = ", log scale" if self.loguniform else ", whole numbers" if self.int else ""
        return f"{low:g} to {high:g}{scale}"


def describe_value(value: Any) -> str:
    """Return a value of a trial in short: a section by its name and what else it sets, `null` as `none`."""
    if isinstance(value, dict):
        others = (f"{key} {describe_value(item)}" for key, item in value.items() if key != "name")
        return " ".join([*([str(value["name"])] if "name" in value else []), *others])
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _check_choices(values: list[Any]) -> None:
    """Check that each value can be stored by Optuna and is there once."""
    try:
        json.dumps(values)
    except TypeError as error:
        raise ValueError(
            f"choice: values must be numbers, text, true, false, null, lists or mappings of them ({error})"
        ) from None
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ValueError("choice: a value is listed twice")


def _as_domain(value: Any) -> Any:
    """Let a list stand for a choice, and a number for a fixed value."""
    if isinstance(value, list):
        return {"choice": value}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"choice": [value]}
    return value


class LevelsDomain(StrictModel):
    """The values of `mdr.levels`: an even grid whose count, spread and offset are searched."""

    count: Annotated[Domain, BeforeValidator(_as_domain)]
    spread: Annotated[Domain, BeforeValidator(_as_domain)]
    offset: Annotated[Domain, BeforeValidator(_as_domain)] = Domain(choice=[0.0])

    def parts(self) -> dict[str, Domain]:
        """Return the domains of the grid's parameters by name."""
        return {"count": self.count, "spread": self.spread, "offset": self.offset}

    def grid_of(self, levels: list[float]) -> dict[str, Any]:
        """Return count, spread and offset of evenly spaced `levels`; ValueError if there are none."""
        is_list = isinstance(levels, list) and len(levels) > 0
        if not is_list or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in levels):
            raise ValueError(f"mdr.levels: expected a list of numbers, such as [-3, 0, 3], got {levels!r}")
        ordered = sorted(levels)
        low, high = ordered[0], ordered[-1]
        grid = {"count": len(ordered), "spread": (high - low) / 2, "offset": (low + high) / 2}
        even = LevelGrid.model_validate(grid).values()
        if any(abs(a - b) > 1e-9 for a, b in zip(ordered, even, strict=True)):
            raise ValueError(f"{levels} is not evenly spaced, as the levels of this space are")
        if len(ordered) == 1:  # the spread of a single level says nothing: any that can be drawn will do
            grid["spread"] = self.spread.probes()[0]
        for name, domain in self.parts().items():
            if not domain.contains(grid[name]):
                raise ValueError(f"{levels} has {name} {grid[name]:g}, outside of {domain.describe()}")
        return grid


def _kind_of_domain(value: Any) -> str:
    grid = isinstance(value, LevelsDomain) or (
        isinstance(value, dict) and not value.keys().isdisjoint(LevelsDomain.model_fields)
    )
    return tag("levels" if grid else "domain")


AnyDomain = Annotated[
    Annotated[Domain, BeforeValidator(_as_domain), Tag(tag("domain"))] | Annotated[LevelsDomain, Tag(tag("levels"))],
    Discriminator(_kind_of_domain),
]
Space = dict[str, AnyDomain]


def _flat(space: Space) -> dict[str, Domain]:
    """Return the domains by flat parameter; `mdr.levels` gives `mdr.levels.count` and so on."""
    flat: dict[str, Domain] = {}
    for key, domain in space.items():
        if isinstance(domain, LevelsDomain):
            flat.update({f"{key}.{name}": part for name, part in domain.parts().items()})
        else:
            flat[key] = domain
    return flat


def searched(space: Space) -> dict[str, Domain]:
    """Return the flat parameters that are drawn."""
    return {key: domain for key, domain in _flat(space).items() if len(domain.choice or [0, 1]) > 1}


def fixed(space: Space) -> dict[str, Any]:
    """Return the parameters of the space that have one value only, so that nothing is drawn for them."""
    return {key: domain.choice[0] for key, domain in _flat(space).items() if domain.choice and len(domain.choice) == 1}


def apply_parameters(trial: TrialConfig, parameters: dict[str, Any]) -> TrialConfig:
    """Return `trial` with dotted `parameters` set, validated anew (pydantic's ValidationError if not valid)."""
    tree = trial.model_dump()
    for key, value in parameters.items():
        set_dotted(tree, key, value)
    return TrialConfig.model_validate(tree)


def decode_sample(space: Space, sampled: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a trial that Optuna's flat `sampled` parameters stand for."""
    domains = searched(space)
    return {key: domains[key].decode(value) for key, value in sampled.items()}


def resolve(trial: TrialConfig, space: Space, parameters: dict[str, Any]) -> TrialConfig:
    """Return the trial with decoded `parameters`, those of the space that have one value only filled in."""
    return apply_parameters(trial, {**fixed(space), **parameters})


def grid_points(space: Space) -> list[dict[str, Any]]:
    """Return every combination of the searched values, as the flat parameters that Optuna stores.

    Raises:
        ValueError: A searched key has a range, which has no end of values.
    """
    values: dict[str, list[Any]] = {}
    for key, domain in searched(space).items():
        if domain.choice is not None:
            values[key] = [domain.encode(value) for value in domain.choice]
        elif domain.int is not None:
            values[key] = list(range(domain.int[0], domain.int[1] + 1))
        else:
            raise ValueError(f"{key}: a grid needs values, {{choice: [...]}}, not the range {domain.describe()}")
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def choice_combinations(space: Space, most: int) -> list[dict[str, Any]] | None:
    """Return all combinations of the keys with choices, decoded; None if there are more than `most`."""
    choices = {key: domain.choice for key, domain in searched(space).items() if domain.choice is not None}
    if math.prod(len(values) for values in choices.values()) > most:
        return None
    return [dict(zip(choices, point, strict=True)) for point in itertools.product(*choices.values())]


def section_variants(trial: TrialConfig, space: Space, section: str) -> list[Any]:
    """Return every different form that a section of the trial (`backbone`) takes in this space."""
    inside = {key: domain for key, domain in space.items() if key == section or key.startswith(f"{section}.")}
    values = [domain.probes() for domain in inside.values() if isinstance(domain, Domain)]
    points = (dict(zip(inside, point, strict=True)) for point in itertools.product(*values))
    found = [getattr(apply_parameters(trial, point), section) for point in points]
    return [variant for i, variant in enumerate(found) if variant not in found[:i]]


def encode_point(space: Space, point: dict[str, Any]) -> dict[str, Any]:
    """Turn a `start_from` entry into the flat parameters that Optuna enqueues; ValueError says what does not fit."""
    encoded: dict[str, Any] = {}
    drawn = searched(space)
    for key, value in point.items():
        domain = space.get(key)
        if isinstance(domain, LevelsDomain):
            values = {f"{key}.{name}": part for name, part in domain.grid_of(value).items()}
        elif domain is None:
            raise ValueError(f"{key} is not searched: it is none of {', '.join(sorted(space))}")
        elif not domain.contains(value):
            raise ValueError(f"{key}: {value} cannot be drawn: the space has {domain.describe()}")
        else:
            values = {key: domain.encode(value)}
        encoded.update({k: v for k, v in values.items() if k in drawn})
    return encoded


def trial_keys(trial: TrialConfig) -> list[str]:
    """Return the dotted keys that can be searched, sections included (those of MDR also where the trial has none)."""
    tree = trial.model_dump()
    tree["mdr"] = MDRConfig().model_dump()
    tree["mdr"]["levels"] = []
    leaves = list(flatten(tree))
    if isinstance(trial.loss, LibraryLossConfig):
        leaves += [f"loss.{name}" for name in trial.loss.known_arguments()]
    sections = {key.rsplit(".", depth)[0] for key in leaves for depth in range(1, key.count(".") + 1)}
    return sorted({*leaves, *sections})
