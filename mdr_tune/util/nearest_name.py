"""Find the known name that a user probably meant, and make the error for an unknown name."""

import difflib
from collections.abc import Iterable

from mdr_tune.util.errors import UnknownName

LIBRARY_PREFIX = "pml."
"""Prefix of the names of losses that are taken from pytorch-metric-learning, such as `pml.CircleLoss`."""
_KINDS = ("loss", "miner", "sampler", "scheduler", "schedule", "optimizer", "search", "dataset")


def plain_name(name: str) -> str:
    """Return a simple form of `name`, by which spellings are compared: `arcface` for ArcFaceLoss and arc-face.

    The form has only lower-case letters and digits. A word for the kind of thing at the end, such as `loss`, is cut.
    """
    plain = "".join(filter(str.isalnum, name.casefold()))
    return next((plain.removesuffix(kind) for kind in _KINDS if plain.endswith(kind) and plain != kind), plain)


def nearest_name(name: str, known: list[str], alike: float = 0.6) -> str | None:
    """Return the name in `known` that the user, who wrote `name`, probably meant; None if none is similar enough.

    A name with the same `plain_name` comes first: ArcFaceLoss means arcface. Otherwise the most similar name is taken
    if its similarity by difflib, from 0 to 1 and regardless of case, is at least `alike`.
    """
    plain = {plain_name(entry): entry for entry in reversed(known)}
    if (same := plain.get(plain_name(name))) is not None:
        return same
    folded = {entry.casefold(): entry for entry in reversed(known)}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=alike)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: list[str]) -> str:
    """Return the question ` Did you mean 'X'?` for the name X in `known` nearest to `name`; empty if none is near."""
    guess = nearest_name(name, known)
    return f" Did you mean {guess!r}?" if guess is not None else ""


def unknown_name(kind: str, name: str, known: Iterable[str], more: str = "") -> UnknownName:
    """Return an error about the unknown `name`, with the nearest known name, all names in `known`, and the text `more`.

    `kind` is a word for what the name should stand for, such as `loss`.
    """
    names = sorted(known)
    return UnknownName(f"unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}.{more}")
