"""Names for extensible things (backbones, data sets, losses, miners): a name in the YAML finds its builder."""

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from mdr_tune.errors import UserError

T = TypeVar("T")


class Unavailable(UserError, ValueError):  # noqa: N818 - it says what is wrong
    """A name is known, but this version has nothing behind it."""


def nearest_name(name: str, known: list[str]) -> str | None:
    """Return the entry of `known` that `name` was probably meant to be, or None."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return close[0] if close else None


class Registry(Generic[T]):
    """A mapping from names to things, whose error for an unknown name lists the known ones.

    Example:
        >>> colours: Registry[int] = Registry("colour")
        >>> colours.add("red", 1)
        >>> colours["red"]
        1
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._missing: dict[str, str] = {}

    def add(self, name: str, entry: T) -> None:
        """Register `entry`; a name can be taken only once."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._entries[name] = entry

    def announce(self, name: str, why_missing: str) -> None:
        """Make `name` known, so that files with it are valid, though this version cannot provide it."""
        self._missing[name] = why_missing

    def check_available(self, name: str) -> None:
        """Raise `Unavailable` (a UserError) if `name` is only announced, ValueError if it is unknown."""
        if name in self._missing:
            raise Unavailable(f"{self.kind} {name!r}: {self._missing[name]}")
        if name not in self._entries:
            raise ValueError(self.unknown_message(name))

    def register(self, name: str) -> Callable[[T], T]:
        """Class or function decorator form of `add`."""

        def decorate(entry: T) -> T:
            self.add(name, entry)
            return entry

        return decorate

    def __getitem__(self, name: str) -> T:
        self.check_available(name)
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        return name in self._entries or name in self._missing

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*self._entries, *self._missing]))

    def unknown_message(self, name: str) -> str:
        """Say that `name` is unknown, which one it may have meant, and which are known."""
        guess = nearest_name(name, list(self))
        hint = f" Did you mean {guess!r}?" if guess else ""
        return f"unknown {self.kind} {name!r}.{hint} Known: {', '.join(self)}."
