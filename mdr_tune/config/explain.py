"""Turn pydantic's errors into the sentences of `config.load`: the key's path, what is wrong, what would be right."""

import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Tag, ValidationError

from mdr_tune.config.base import KeyProblem, is_tag
from mdr_tune.config.units import Unit
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
    "union_tag_not_found": "a name, or a mapping with a name",
    "finite_number": "a finite number",
}
_ACCUMULATION = (
    "gradient accumulation is refused: MDR and the miners look at the distances within a batch, and several small "
    "batches have other distances than one large one. For a batch that does not fit the memory set batch.chunk_size: "
    "its gradients are those of the whole batch."
)


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str, ...], str]]:
    """Return (path of keys, message) for each problem in `error`, raised by validating `model`."""
    return [_explain_one(dict(details), model) for details in error.errors(include_url=False)]


def lines_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return `key: message` for each problem in `error`; what is in a file has a line too (`sweep_file.Source`)."""
    return [f"{'.'.join(path)}: {message}" if path else message for path, message in explain(error, model)]


def _explain_one(details: dict[str, Any], model: type[BaseModel]) -> tuple[tuple[str, ...], str]:
    location: tuple[Any, ...] = details["loc"]
    path = tuple(str(part) for part in location if not is_tag(part))
    kind, value, context = details["type"], details.get("input"), details.get("ctx", {})
    if kind == "extra_forbidden":
        return path, _unknown_key(str(location[-1]), _fields_at(model, location[:-1]))
    if kind == "missing":
        return path, "is missing"
    if kind in ("literal_error", "enum"):
        return path, f"expected {context['expected']}, got {_show(value)}"
    if kind == "union_tag_invalid":
        return (*path, "name"), _unknown_member(path[-1], context)
    if kind in _TYPE_NAMES:
        return path, f"expected {_TYPE_NAMES[kind]}, got {_show(value)}"
    if kind == "string_pattern_mismatch":
        return (
            path,
            f"{_show(value)} is not allowed: give 1 to 64 letters, digits, '_', '-' or '.', no sign first",
        )
    if kind == "value_error":
        problem = context["error"]
        more = tuple(problem.key.split(".")) if isinstance(problem, KeyProblem) else ()
        return (*path, *more), str(problem)
    message = details["msg"].replace("Input should be", "must be").replace("List should", "must")
    return path, f"{message}, got {_show(value)}{_unit_hint(model, location, value)}"


def _unit_hint(model: type[BaseModel], location: tuple[Any, ...], value: Any) -> str:
    """Say what a number that is out of its range would be in the unit in which it was likely meant."""
    places = [i for i, part in enumerate(location) if isinstance(part, str) and not is_tag(part)]
    if not places or not isinstance(value, int | float):
        return ""
    fields = [m.model_fields.get(location[places[-1]]) for m in _models_at(model, location[: places[-1]])]
    units = [item for field in fields if field for item in field.metadata if isinstance(item, Unit)]
    return next((f": {unit.hint(value)}" for unit in units if unit.convert is not None and unit.note(value)), "")


def _unknown_key(key: str, known: list[str]) -> str:
    if "accum" in key.lower():
        return _ACCUMULATION
    if key in ("num_classes", "embedding_size"):
        return f"{key} comes from {'the data set' if key == 'num_classes' else 'embedding.size'}: leave it out."
    guess = nearest_name(key, known)
    hint = f" Did you mean {guess!r}?" if guess else ""
    return f"unknown key.{hint} Known here: {', '.join(known)}."


def _unknown_member(kind: str, context: dict[str, Any]) -> str:
    """Say that no member of the union at key `kind` has this name; a tag that ends in a dot is a library's prefix."""
    name = str(context["tag"]).strip("<>")
    known = re.findall("<(.*?)>", str(context["expected_tags"]))
    guess = nearest_name(name, known)
    hint = f" Did you mean {guess!r}?" if guess else ""
    listed = [f"{member}<Class of pytorch-metric-learning>" if member.endswith(".") else member for member in known]
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(listed)}."


def _show(value: Any) -> str:
    return f"{value!r} (text)" if isinstance(value, str) else repr(value)


def _models_in(annotation: Any, tag: str | None = None) -> Iterator[tuple[str | None, type[BaseModel]]]:
    """Yield the models that a field of this type can hold, each with its tag if it is a member of a tagged union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield tag, annotation
        return
    own = next((item.tag for item in getattr(annotation, "__metadata__", ()) if isinstance(item, Tag)), tag)
    arguments = annotation.__args__ if isinstance(annotation, types.UnionType) else typing.get_args(annotation)
    for argument in arguments:
        yield from _models_in(argument, own)


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys that the mapping at `location` may have."""
    return sorted({name for m in _models_at(model, location) for name in m.model_fields})


def _models_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[type[BaseModel]]:
    """Return the models that the mapping at `location` may be."""
    here: list[tuple[str | None, type[BaseModel]]] = [(None, model)]
    for part in location:
        if is_tag(part):
            here = [(None, m) for tag, m in here if tag == part] or here
            continue
        fields = [m.model_fields[part] for _, m in here if part in m.model_fields]
        if fields:  # else the key of a mapping, such as one of the space
            here = [found for field in fields for found in _models_of(field)]
    return [m for _, m in here]


def _models_of(field: Any) -> Iterator[tuple[str | None, type[BaseModel]]]:
    tag = next((item.tag for item in field.metadata if isinstance(item, Tag)), None)
    return _models_in(field.annotation, tag)
