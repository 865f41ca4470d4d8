"""Turn pydantic's errors into the sentences of `config.load`: the key's path, what is wrong, what would be right."""

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from mdr_tune.registry import nearest_name

_TYPE_NAMES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
_UNION_TAGS = {"domain", "levels", "list", "grid"}
"""Tags of the discriminated unions, which pydantic puts into the path though they are no keys of the file."""


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str, ...], str]]:
    """Return (path of keys, message) for each problem in `error`, raised by validating `model`."""
    return [_explain_one(dict(details), model) for details in error.errors(include_url=False)]


def _explain_one(details: dict[str, Any], model: type[BaseModel]) -> tuple[tuple[str, ...], str]:
    location: tuple[Any, ...] = details["loc"]
    path = _without_tags(location)
    kind, value, context = details["type"], details.get("input"), details.get("ctx", {})
    if kind == "extra_forbidden":
        return path, _unknown_key(str(location[-1]), _fields_at(model, location[:-1]))
    if kind == "missing":
        return path, "is missing"
    if kind in ("literal_error", "enum"):
        return path, f"expected {context['expected']}, got {_show(value)}"
    if kind in _TYPE_NAMES:
        return path, f"expected {_TYPE_NAMES[kind]}, got {_show(value)}"
    if kind == "string_pattern_mismatch":
        return (
            path,
            f"{_show(value)} is not allowed: give 1 to 64 letters, digits, '_', '-' or '.', no sign first",
        )
    if kind == "value_error":
        return path, str(context["error"])
    message = details["msg"].replace("Input should be", "must be").replace("List should", "must")
    return path, f"{message}, got {_show(value)}"


def _without_tags(location: tuple[Any, ...]) -> tuple[str, ...]:
    """Drop union tags; a tag follows the key whose value is the union."""
    path: list[str] = []
    for i, part in enumerate(location):
        follows_union = i > 0 and (location[i - 1] == "levels" or (i >= 2 and location[i - 2] == "space"))
        if not (part in _UNION_TAGS and follows_union):
            path.append(str(part))
    return tuple(path)


def _unknown_key(key: str, known: list[str]) -> str:
    guess = nearest_name(key, known)
    hint = f" Did you mean {guess!r}?" if guess else ""
    return f"unknown key.{hint} Known here: {', '.join(known)}."


def _show(value: Any) -> str:
    return f"{value!r} (text)" if isinstance(value, str) else repr(value)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field of this type can hold, looking into unions, lists and annotations."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType) or arguments:
        return [model for argument in arguments for model in _models_in(argument)]
    return []


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys that the mapping at `location` may have."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        holding = [m for m in models if part in m.model_fields]
        if holding:
            models = [found for m in holding for found in _models_in(m.model_fields[part].annotation)]
        elif part in ("levels", "domain"):  # a tag of the space's union
            from mdr_tune.config.space import Domain, LevelsDomain

            models = [LevelsDomain if part == "levels" else Domain]
    return sorted({field for m in models for field in m.model_fields})
