"""Names for extensible things (backbones, data sets): a name in the YAML finds what is behind it, when it is needed."""

import difflib
import importlib
from collections.abc import Iterator
from typing import Generic, TypeVar, cast

from mdr_tune.errors import UserError

T = TypeVar("T")


class Unavailable(UserError, ValueError):  # noqa: N818 - it says what is wrong
    """A name is known, but this version has nothing behind it."""


def nearest_name(name: str, known: list[str]) -> str | None:
    """Return the entry of `known` that `name` was probably meant to be, or None."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return close[0] if close else None


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
        self._missing: dict[str, str] = {}

    def add(self, name: str, place: str) -> None:
        """Register what stands at `place`, written `package.module:attribute`; a name can be taken only once."""
        if name in self._places:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._places[name] = place

    def announce(self, name: str, why_missing: str) -> None:
        """Make `name` known, so that files with it are valid, though this version cannot provide it."""
        self._missing[name] = why_missing

    def check_available(self, name: str) -> None:
        """Raise `Unavailable` (a UserError) if `name` is only announced, ValueError if it is unknown."""
        if name in self._missing:
            raise Unavailable(f"{self.kind} {name!r}: {self._missing[name]}")
        if name not in self._places:
            raise ValueError(self.unknown_message(name))

    def __getitem__(self, name: str) -> T:
        self.check_available(name)
        module, _, attribute = self._places[name].partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))

    def __contains__(self, name: str) -> bool:
        return name in self._places or name in self._missing

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*self._places, *self._missing]))

    def unknown_message(self, name: str) -> str:
        """Say that `name` is unknown, which one it may have meant, and which are known."""
        guess = nearest_name(name, list(self))
        hint = f" Did you mean {guess!r}?" if guess else ""
        return f"unknown {self.kind} {name!r}.{hint} Known: {', '.join(self)}."
