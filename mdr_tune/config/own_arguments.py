"""Sections of a sweep file that name the user's own code by an import path, such as `my_losses:SoftTriple`."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mdr_tune.config.strict_model import KeyProblem, UnknownArguments
from mdr_tune.util.call_arguments import ArgumentProblem, CallArguments, call_arguments
from mdr_tune.util.import_path import CodeError, import_named


@contextmanager
def at_its_key() -> Iterator[None]:
    """Raise a CodeError of the block as a `KeyProblem` of the argument that it is about, or else of the key `name`."""
    try:
        yield
    except ArgumentProblem as error:
        raise KeyProblem(error.key, str(error)) from None
    except CodeError as error:
        raise KeyProblem("name", str(error)) from None


def check_call(name: str, arguments: Mapping[str, Any], filled: Collection[str] = ()) -> None:
    """Check that the class or function `name`, an import path, can be called with `arguments`.

    Raises:
        KeyProblem: The class or function does not exist, or a value does not fit its signature.
        UnknownArguments: The signature has no such arguments. Those in `filled`, which the trial fills in, count, too.
    """
    with at_its_key():
        taken = call_arguments(import_named(name), filled)
        known = list(taken.defaults)
        if unknown := [key for key in arguments if key not in known and (key in filled or not taken.takes_any)]:
            raise UnknownArguments(unknown, known)
        taken.check(name, arguments)


def arguments_of(name: str, filled: Collection[str] = ()) -> CallArguments | None:
    """Return the arguments that a sweep file may give to `name`, an import path; None if it cannot be imported."""
    try:
        return call_arguments(import_named(name), filled)
    except CodeError:
        return None
