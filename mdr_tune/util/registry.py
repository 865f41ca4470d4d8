"""Errors for a name that nothing has: the nearest known one is suggested."""

import difflib
from collections.abc import Iterable

from mdr_tune.util.errors import UnknownName

LIBRARY_PREFIX = "pml."
"""Beginning of the names of losses that are looked up in pytorch-metric-learning, such as `pml.CircleLoss`."""
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


def unknown_name(kind: str, name: str, known: Iterable[str], more: str = "") -> UnknownName:
    """Return the error that nothing of a kind has this name: which one was likely meant, which are known, what more."""
    names = sorted(known)
    return UnknownName(f"unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}.{more}")
