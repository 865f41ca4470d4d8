"""Errors for unknown names, which suggest the nearest known one."""

import difflib
from collections.abc import Iterable

from mdr_tune.util.errors import UnknownName

LIBRARY_PREFIX = "pml."
"""Prefix of the names of losses that are looked up in pytorch-metric-learning, such as `pml.CircleLoss`."""
_KINDS = ("loss", "miner", "sampler", "scheduler", "schedule", "optimizer", "search", "dataset")


def plain_name(name: str) -> str:
    """Return a name in lower case, without signs and the word for its kind at the end: `arcface` for ArcFaceLoss."""
    plain = "".join(filter(str.isalnum, name.casefold()))
    return next((plain.removesuffix(kind) for kind in _KINDS if plain.endswith(kind) and plain != kind), plain)


def nearest_name(name: str, known: list[str], alike: float = 0.6) -> str | None:
    """Return the known name that was probably meant, whatever the case of its letters; None if no name is near enough.

    A known name that differs only in case, signs and the word for its kind goes first: ArcFaceLoss means arcface.

    Args:
        name: Name that was given.
        known: Known names.
        alike: Least likeness of the two names, from 0 to 1.
    """
    plain = {plain_name(entry): entry for entry in reversed(known)}
    if (same := plain.get(plain_name(name))) is not None:
        return same
    folded = {entry.casefold(): entry for entry in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=alike)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: list[str]) -> str:
    """Return the sentence ` Did you mean 'NAME'?` for the nearest known name, with a space first; empty without one."""
    guess = nearest_name(name, known)
    return f" Did you mean {guess!r}?" if guess is not None else ""


def unknown_name(kind: str, name: str, known: Iterable[str], more: str = "") -> UnknownName:
    """Return the error for an unknown name, with a suggestion and the known names.

    Args:
        kind: Kind of thing that the name should be of, such as `loss`.
        name: Name that was given.
        known: Known names.
        more: Text that is put at the end of the message.
    """
    names = sorted(known)
    return UnknownName(f"unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}.{more}")
