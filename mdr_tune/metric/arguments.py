"""Keyword arguments that come from a file: say what is wrong before Python's TypeError does."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mdr_tune.errors import UnknownName
from mdr_tune.registry import did_you_mean


def check_arguments(
    owner: str, factory: Callable[..., Any], arguments: Mapping[str, Any], reserved: Collection[str] = ()
) -> None:
    """Raise UnknownName if `factory` has no parameter of an argument's name.

    Args:
        owner: what the arguments are for, as the message names it (`loss 'triplet'`).
        factory: takes keyword arguments only from a file, all of them named in its signature.
        arguments: by name.
        reserved: parameters that do not come from the file.
    """
    known = [name for name in inspect.signature(factory).parameters if name not in reserved]
    for name in arguments:
        if name not in known:
            raise unknown_argument(owner, name, {name: name for name in known})


def unknown_argument(owner: str, name: str, known: Mapping[str, str]) -> UnknownName:
    """Return the error that `owner` has no argument `name`, which one it may have meant, and which it has.

    Args:
        owner: what the arguments are for.
        name: the unknown argument.
        known: what to print for each known argument.
    """
    hint, listed = did_you_mean(name, list(known)), ", ".join(known.values()) or "none"
    return UnknownName(f"{owner} has no argument {name!r}.{hint} Known: {listed}.")
