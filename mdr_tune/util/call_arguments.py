"""Check the arguments that a sweep file gives to the user's own class or function against its signature."""

import contextlib
import functools
import inspect
import io
import json
import math
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from mdr_tune.util.import_path import FAILURES, CodeError, defined_at, said

REQUIRED = inspect.Parameter.empty
_BATCHES = ("images", "image", "embeddings", "embedding", "features", "inputs", "x")
"""Names of the first parameter of a function that computes something from a batch."""
_called: set[str] = set()
"""Calls that `call` has made in this process."""


class ArgumentProblem(CodeError):  # noqa: N818 - a CodeError that knows its argument
    """A problem with one argument, whose name is `key`."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class CallArguments(NamedTuple):
    """The arguments that a sweep file may give to a class or function.

    Attributes:
        function: The class or function.
        defaults: Default of each argument by name; `REQUIRED` if the argument has none.
        annotations: Annotation of each argument that has one, by name.
        filled: Names of the parameters that the trial fills in, such as the number of classes.
        takes_any: Whether the function has `**kwargs`, so that any other argument may be given, too.
    """

    function: Callable[..., Any]
    defaults: dict[str, Any]
    annotations: dict[str, Any]
    filled: tuple[str, ...]
    takes_any: bool

    def check(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return `arguments` converted to the types of the function's signature. Unknown keys were refused before.

        Pydantic converts values strictly by their annotations: a list becomes a tuple for `tuple[int, ...]`. Without an
        annotation, the type of the default counts. `name` is the function's import path, for messages.

        Raises:
            ArgumentProblem: A value does not have the type of the signature.
            CodeError: A required argument is missing.
        """
        missing = [key for key, default in self.defaults.items() if default is REQUIRED and key not in arguments]
        if missing and missing[0] in _BATCHES and not inspect.isclass(self.function):
            raise CodeError(_computes_itself(name, self.function, missing))
        if missing:
            example = ", ".join(f"{key}: ..." for key in missing)
            raise CodeError(
                f"{name}{defined_at(self.function)} needs a value for {' and '.join(missing)}: "
                f"write {{name: {name}, {example}}}"
            )
        return {key: self._read(key, value) for key, value in arguments.items()}

    def _read(self, key: str, value: Any) -> Any:
        annotation = self.annotations.get(key, _type_of(self.defaults.get(key)))
        try:
            adapter = _adapter(annotation)
        except (PydanticUserError, TypeError):
            shown = inspect.formatannotation(annotation)
            message = f"a sweep file cannot give a {shown}{defined_at(self.function)}: leave it out"
            raise ArgumentProblem(key, message) from None
        try:
            return adapter.validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError:
            expected = inspect.formatannotation(annotation).removeprefix("typing.")
            text = f"{value!r} (text)" if isinstance(value, str) else repr(value)
            message = f"expected {expected}{defined_at(self.function)}, got {text}"
            raise ArgumentProblem(key, message) from None


def _computes_itself(name: str, function: Callable[..., Any], taken: list[str]) -> str:
    """Return the message for a user's `function` that takes a batch itself, where a function that makes one is needed.

    `name` is the import path. `taken` are the names of the function's parameters.
    """
    short, given = name.rpartition(":")[2], ", ".join(taken)
    return (
        f"{name}{defined_at(function)} takes ({given}) itself: name a class whose objects do, or a function that makes "
        f"one. Write class {short.title().replace('_', '')}(torch.nn.Module): def forward(self, {given}): return "
        f"{short}({given})"
    )


def call(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call the user's `function`, with the import path `name`, with `arguments`, and return its result.

    If a process makes equal calls, only the first one prints. Errors of the function are raised as CodeError.
    """
    shown = f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    hushed = contextlib.redirect_stdout(io.StringIO()) if shown in _called else contextlib.nullcontext()
    _called.add(shown)
    try:
        with hushed:
            return function(**arguments)
    except CodeError:
        raise
    except FAILURES as error:
        raise CodeError(f"{shown} fails: {said(error)}") from None


@functools.lru_cache(maxsize=1024)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        hash(annotation)
    except TypeError:  # such as Annotated with a list
        return TypeAdapter(annotation)
    return _cached_adapter(annotation)


def _type_of(default: Any) -> Any:
    """Return the type that a parameter without annotation must have, by its `default`: int or float for 0.2."""
    if isinstance(default, bool | str):
        return type(default)
    if isinstance(default, int | float):
        return int | float
    return Any


def call_arguments(function: Callable[..., Any], filled: Collection[str] = ()) -> CallArguments:
    """Return the arguments that a sweep file may give to `function`: all but those in `filled`, which the trial gives.

    If a class takes `**kwargs`, the parameters of its base classes' constructors count, too, up to `torch.nn.Module`.
    These parameters are not required, since the class may give their values to its base class itself.

    Raises:
        CodeError: Python does not know the signature, or a parameter can only be given by position.
    """
    defaults: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    present: list[str] = []
    takes_any = False
    constructors = _constructors(function)
    for one in constructors:
        parameters, takes_any = _parameters(one, is_method=one is not function)
        hints = _hints(one)
        for parameter in parameters:
            if parameter.name in defaults or parameter.name in present:
                continue
            if parameter.name in filled:
                present.append(parameter.name)
                continue
            is_given_on = parameter.default is REQUIRED and one is not constructors[0]
            defaults[parameter.name] = None if is_given_on else parameter.default
            if parameter.name in hints:
                annotations[parameter.name] = hints[parameter.name]
        if not takes_any:
            break
    else:
        takes_any = takes_any and not inspect.isclass(function)
    return CallArguments(function, defaults, annotations, tuple(present), takes_any)


def _constructors(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return `function` in a list, or for a class its constructor and those of base classes below `torch.nn.Module`."""
    if not inspect.isclass(function):
        return [function]
    if type(function).__call__ is not type.__call__ or function.__new__ is not object.__new__:
        return [function]
    bases = [base for base in function.__mro__ if not (base is object or base.__module__.startswith("torch.nn."))]
    found = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    return found or [lambda self: None]


def _parameters(function: Callable[..., Any], is_method: bool) -> tuple[list[inspect.Parameter], bool]:
    try:
        parameters = list(inspect.signature(function).parameters.values())[1 if is_method else 0 :]
    except (ValueError, TypeError) as error:
        raise CodeError(f"{function!r}: Python does not know its signature ({error}): wrap it in a function") from None
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is REQUIRED:
            raise CodeError(f"{parameter.name}{defined_at(function)} is positional-only: a sweep file gives names")
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return named, any(one.kind is one.VAR_KEYWORD for one in parameters)


def _hints(function: Any) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # an annotation may be any text
        raise CodeError(f"its annotations{defined_at(function)} cannot be read: {said(error)}") from None


def plain(default: Any) -> Any:
    """Return the `default` of a parameter as a value that a YAML file could have: unchanged, a list, or its `repr`."""
    is_plain = (
        default is None
        or isinstance(default, bool | int | str)
        or (isinstance(default, float) and math.isfinite(default))
    )
    return (
        default
        if is_plain
        else [plain(item) for item in default]
        if isinstance(default, list | tuple)
        else repr(default)
    )
