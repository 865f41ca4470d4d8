"""Names for extensible things (backbones, data sets): a name in the YAML finds what is behind it, when it is needed."""

import difflib
import importlib
from collections.abc import Iterator
from typing import Generic, TypeVar, cast

from mdr_tune.util.errors import UnknownName

T = TypeVar("T")


_KINDS = ("loss", "miner", "sampler", "scheduler", "schedule", "optimizer", "search", "dataset")


def plain_name(name: str) -> str:
    """Return a name in lower case, without signs, and without a word at its end that says what kind of thing it is."""
    plain = "".join(filter(str.isalnum, name.casefold()))
    return next((plain.removesuffix(kind) for kind in _KINDS if plain.endswith(kind) and plain != kind), plain)


def nearest_name(name: str, known: list[str], alike: float = 0.6) -> str | None:
    """Return the entry of `known` that `name` was probably meant to be, in any case.

    First the one that differs in case, signs and a word for its kind only: ArcFaceLoss is arcface.

    Args:
        name: What was given.
        known: Names there are.
        alike: Least likeness, from 0 to 1; None is returned where no name has it.
    """
    plain = {plain_name(entry): entry for entry in reversed(known)}
    if (same := plain.get(plain_name(name))) is not None:
        return same
    folded = {entry.casefold(): entry for entry in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=alike)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: list[str]) -> str:
    """Return the sentence that asks whether the nearest of `known` was meant, a space before it, or an empty text."""
    guess = nearest_name(name, known)
    return f" Did you mean {guess!r}?" if guess is not None else ""


class Registry(Generic[T]):
    """Names, and where in the package their things are. Nothing is imported before it is asked for.

    Example:
        >>> roots: Registry[object] = Registry("root")
        >>> roots.add("square", "math:sqrt")
        >>> roots["square"](9.0)
        3.0
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._places: dict[str, str] = {}

    def add(self, name: str, place: str) -> None:
        """Register what stands at `place`, written `package.module:attribute`; a name can be taken only once."""
        if name in self._places:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._places[name] = place

    def __getitem__(self, name: str) -> T:
        if name not in self._places:
            raise self.unknown(name)
        module, _, attribute = self._places[name].partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places))

    def unknown(self, name: str, more: str = "") -> UnknownName:
        """Return the error that `name` is unknown: which one it may have meant, which are known, and what more."""
        return UnknownName(
            f"unknown {self.kind} {name!r}.{did_you_mean(name, list(self))} Known: {', '.join(self)}.{more}"
        )
