"""The domains of a search space. A domain is the set of values of one searched key, as a sweep file writes it.

A domain is written as one of

    {uniform: [low, high]}      {loguniform: [low, high]}      {int: [low, high]}      {choice: [a, b, ...]}

A list `[a, b, ...]` is short for `{choice: [a, b, ...]}`, except inside of a choice, where it is a fixed value.

The levels of MDR are a list of numbers. Their domain is written as domains of the parameters of an even grid (see
`trial.LevelGrid`):

    mdr.levels: {count: [2, 3, 5], spread: {uniform: [1, 5]}, offset: {uniform: [-1, 1]}}

A choice that is a mapping may contain domains. Their keys are searched only in trials that take this choice.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from mdr_tune.config.explain import explain
from mdr_tune.config.hints import flow
from mdr_tune.config.strict_model import KeyProblem, StrictModel, tag
from mdr_tune.config.trial import LevelGrid
from mdr_tune.util.nearest_name import nearest_name

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
IntRange = Annotated[list[int], Field(min_length=2, max_length=2)]
KINDS = ("uniform", "loguniform", "int", "choice")
_ENDS = (("min", "low", "lower", "minimum", "start"), ("max", "high", "upper", "maximum", "stop", "end"))
_VALUES = ("values", "choices", "options", "categories", "grid")


class Domain(StrictModel):
    """The values of one searched key. Exactly one of the fields is given."""

    uniform: Range | None = None
    loguniform: Range | None = None
    int: IntRange | None = None
    choice: Annotated[list[Any], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_valid_kind(self) -> "Domain":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
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
        """Return [low, high] of a range, or all choices, as the sweep file has them: the values that checks try."""
        return list(self.uniform or self.loguniform or self.int or self.choice or [])

    def contains(self, value: Any) -> bool:
        """Return whether `value` can be drawn. A choice must be given as the sweep file writes it."""
        if self.choice is not None:
            return value in self.choice
        low, high = self.probes()
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and low <= value <= high and (self.int is None or value == int(value))

    def describe(self) -> str:
        """Return the domain in words, such as `0.1 to 0.5, log scale`."""
        if self.choice is not None:
            return "one of " + ", ".join(tell_apart(self.choice, describe_value))
        low, high = self.probes()
        scale = ", log scale" if self.loguniform else ", whole numbers" if self.int else ""
        return f"{low:g} to {high:g}{scale}"


DIGITS = 3
"""Number of significant digits of a number in a name. More are used if two names would be equal otherwise."""
MOST_DIGITS = 17
"""Number of significant digits with which any two different 64-bit floats have different texts."""
T = TypeVar("T")


def describe_value(value: Any, digits: int = DIGITS) -> str:
    """Return a short text for `value`, used in a name or a message, with `digits` significant digits in each float.

    A mapping gives its `name`, then its other keys with values or domains: `arcface scale 64`. None gives `none`.
    """
    if isinstance(value, dict):
        words = [str(value["name"])] if "name" in value else []
        for key, item in value.items():
            if key != "name":
                domain = domain_inside(key, item)
                words.append(f"{key} ({domain.describe()})" if domain else f"{key} {describe_value(item, digits)}")
        return " ".join(words)
    if value is None:
        return "none"
    if isinstance(value, float) and digits < MOST_DIGITS:
        return f"{value:.{digits}g}"
    return str(value)


def tell_apart(items: Sequence[T], say: Callable[[T, int], str], digits: int = DIGITS) -> list[str]:
    """Return a text for each of `items`, so that different items have different texts.

    `say(item, n)` returns the text of an item with n significant digits. `n` is `digits`, or more if texts are equal.
    """
    texts = [say(item, digits) for item in items]
    for text in dict.fromkeys(texts):
        alike = [i for i, other in enumerate(texts) if other == text]
        if digits < MOST_DIGITS and len({repr(items[i]) for i in alike}) > 1:
            finer = tell_apart([items[i] for i in alike], say, digits + 1)
            if len(set(finer)) > 1:  # else the items do not differ in their digits
                for i, found in zip(alike, finer, strict=True):
                    texts[i] = found
    return texts


def _check_choices(values: list[Any]) -> None:
    """Check that Optuna can store `values`, that none is listed twice, and that domains inside of them are valid."""
    try:
        json.dumps(values)
    except TypeError as error:
        raise ValueError(
            f"choice: values must be numbers, text, true, false, null, lists or mappings of them ({error})"
        ) from None
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ValueError("choice: a value is listed twice")
    for i, value in enumerate(values):
        for key, inside in _written_inside(value):
            try:
                domain_inside(key.rpartition(".")[2], inside)
            except ValidationError as error:
                path, message = explain(error, LevelsDomain if _is_levels(key, inside) else Domain)[0]
                raise KeyProblem(".".join(["choice", str(i), key, *path]), message) from None


def _as_domain(value: Any) -> Any:
    """Return the domain `value` as a mapping: a list means a choice, and a number means a choice with one value."""
    if isinstance(value, list):
        return {"choice": value}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"choice": [value]}
    if isinstance(value, dict) and value.keys().isdisjoint(KINDS) and (meant := _other_form(value)):
        raise ValueError(f"{value} is another program's way to say it: write {meant}")
    if isinstance(value, str | bool) or value is None:
        raise ValueError(f"expected what to search, such as {{uniform: [0, 1]}} or [a, b], got {value!r}")
    return value


def _other_form(value: dict[Any, Any]) -> str:
    """Translate a domain of another program, such as {min: 0, max: 1}, to this project's form; empty if unclear."""
    given = {str(key).lower(): item for key, item in value.items()}
    low, high = (next((given[key] for key in keys if key in given), None) for keys in _ENDS)
    values = next((given[key] for key in _VALUES if isinstance(given.get(key), list)), None)
    if values is not None:
        return flow({"choice": values})
    if not all(isinstance(end, int | float) for end in (low, high)):
        return ""
    says_log = any("log" in f"{key} {item}".lower() and item is not False for key, item in given.items())
    kind = "loguniform" if says_log else "uniform"
    whole = all(isinstance(end, int) for end in (low, high)) and not says_log
    return flow({kind: [low, high]}) + (f", or {flow({'int': [low, high]})} for whole numbers" if whole else "")


class LevelsDomain(StrictModel):
    """The domain of `mdr.levels`: an even grid whose count, spread and offset are searched."""

    count: Annotated[Domain, BeforeValidator(_as_domain)]
    spread: Annotated[Domain, BeforeValidator(_as_domain)]
    offset: Annotated[Domain, BeforeValidator(_as_domain)] = Field(default_factory=lambda: Domain(choice=[0.0]))

    def parts(self) -> dict[str, Domain]:
        """Return the domains of count, spread and offset, by these names."""
        return {"count": self.count, "spread": self.spread, "offset": self.offset}

    def describe(self) -> str:
        """Return the domains of the grid's parameters in words. An offset that is always 0 is left out."""
        shown = {name: part for name, part in self.parts().items() if part.choice != [0.0]}
        return ", ".join(f"{name} {part.describe()}" for name, part in shown.items())

    def grid_of(self, levels: Any) -> dict[str, Any]:
        """Return the count, the spread and the offset of evenly spaced `levels`, a list or a `LevelGrid` mapping.

        Raise ValueError if the levels are not valid, not evenly spaced, or outside of this domain.
        """
        try:
            grid = LevelGrid.model_validate(levels).model_dump() if isinstance(levels, dict) else _even_grid(levels)
        except ValidationError as error:
            path, message = explain(error, LevelGrid)[0]
            raise ValueError(".".join(["mdr.levels", *path]) + f": {message}") from None
        if grid["count"] == 1:  # a single level has no spread: any that can be drawn will do
            grid["spread"] = self.spread.probes()[0]
        for name, domain in self.parts().items():
            if not domain.contains(grid[name]):
                raise ValueError(f"{levels} has {name} {grid[name]:g}, outside of {domain.describe()}")
        return grid


def _even_grid(levels: Any) -> dict[str, Any]:
    is_list = isinstance(levels, list) and len(levels) > 0
    if not is_list or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in levels):
        raise ValueError(f"mdr.levels: expected a list of numbers, such as [-3, 0, 3], got {levels!r}")
    ordered = sorted(levels)
    low, high = ordered[0], ordered[-1]
    grid = {"count": len(ordered), "spread": (high - low) / 2, "offset": (low + high) / 2}
    even = LevelGrid.model_validate(grid).values()
    if any(abs(a - b) > 1e-9 for a, b in zip(ordered, even, strict=True)):
        raise ValueError(f"{levels} is not evenly spaced, as the levels of this space are")
    return grid


def _is_domain(value: Any) -> bool:
    """Return whether `value`, inside of a choice, is a domain. Misspelt ones, such as {unifrom: [0, 1]}, count too."""
    if not isinstance(value, dict) or not value:
        return False
    first = next(iter(value))
    return not value.keys().isdisjoint(KINDS) or (len(value) == 1 and nearest_name(str(first), list(KINDS)) is not None)


def _is_levels(key: str, value: Any) -> bool:
    """Return whether `value` at `key`, inside of a choice, is a domain of levels. A grid of fixed numbers is not."""
    parts = value if key.rpartition(".")[2] == "levels" and isinstance(value, dict) else {}
    is_grid = not parts.keys().isdisjoint(LevelsDomain.model_fields)
    return is_grid and any(isinstance(part, list | dict) for part in parts.values())


def domain_inside(key: str, value: Any) -> "Domain | LevelsDomain | None":
    """Return the domain that `value` describes, where `key` is a key inside of a choice; None for a fixed value.

    Raise ValidationError if the value is written like a domain, but is not a valid one.
    """
    if _is_levels(key, value):
        return LevelsDomain.model_validate(value)
    return Domain.model_validate(value) if _is_domain(value) else None


def _written_inside(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, domain as written) for each domain inside of the choice `value`. Keys begin with `prefix`."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if _is_domain(item) or _is_levels(str(key), item):
            yield f"{prefix}{key}", item
        else:
            yield from _written_inside(item, f"{prefix}{key}.")


def split_choice(value: Any) -> "tuple[Any, dict[str, Domain | LevelsDomain]]":
    """Return the choice `value` without the domains inside of it, and these domains by dotted key.

    In the example, the second result is the domain of the key `margin`.

    >>> split_choice({"name": "triplet", "margin": {"uniform": [0.1, 0.5]}})[0]
    {'name': 'triplet'}
    """
    if not isinstance(value, dict):
        return value, {}
    plain: dict[str, Any] = {}
    inside: dict[str, Domain | LevelsDomain] = {}
    for key, item in value.items():
        domain = domain_inside(key, item)
        if domain is not None:
            inside[key] = domain
            continue
        plain[key], deeper = split_choice(item)
        inside.update({f"{key}.{name}": found for name, found in deeper.items()})
    return plain, inside


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
