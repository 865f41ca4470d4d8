"""Check the arguments of the user's own code, which a section names by an import path: `my_losses:SoftTriple`."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mdr_tune.config.strict_model import KeyProblem, UnknownArguments
from mdr_tune.util.call_arguments import ArgumentProblem, CallArguments, call_arguments
from mdr_tune.util.import_path import CodeError, import_named


@contextmanager
def at_its_key() -> Iterator[None]:
    """Turn a CodeError in the `with` block into a `KeyProblem` of the argument at fault, or else of the key `name`."""
    try:
        yield
    except ArgumentProblem as error:
        raise KeyProblem(error.key, str(error)) from None
    except CodeError as error:
        raise KeyProblem("name", str(error)) from None


def check_call(name: str, arguments: Mapping[str, Any], filled: Collection[str] = ()) -> None:
    """Check that the class or function `name`, an import path, can be called with `arguments` of a sweep file.

    Raises:
        KeyProblem: The class or function does not exist, or a value does not fit its signature.
        UnknownArguments: Arguments are not in the signature, or are in `filled`: the trial itself fills these in.
    """
    with at_its_key():
        taken = call_arguments(import_named(name), filled)
        known = list(taken.defaults)
        if unknown := [key for key in arguments if key not in known and (key in filled or not taken.takes_any)]:
            raise UnknownArguments(unknown, known)
        taken.check(name, arguments)


def arguments_of(name: str, filled: Collection[str] = ()) -> CallArguments | None:
    """Return the arguments of `name`, an import path, without those in `filled`; None if it cannot be imported."""
    try:
        return call_arguments(import_named(name), filled)
    except CodeError:
        return None
