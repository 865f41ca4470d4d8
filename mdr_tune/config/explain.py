"""Turn pydantic's errors into messages to users: the path of the key, what is wrong, what to write instead."""

import ast
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from mdr_tune.config.hints import (
    DOMAIN_KINDS,
    NOTHING,
    all_keys,
    fields_at,
    flow,
    in_quotes,
    meant_key,
    meant_place,
    meant_value,
    members_at,
    models_at,
    searched_instead,
)
from mdr_tune.config.other_names import meant_name
from mdr_tune.config.strict_model import IMPORT_PATH, KeyProblem, UnknownArguments, is_tag, tag_name
from mdr_tune.config.units import Unit
from mdr_tune.util.words import count, not_utf_8

KeyPath = tuple[str, ...]
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
_LENGTHS = {
    **dict.fromkeys(("too_short", "string_too_short"), "at least"),
    **dict.fromkeys(("too_long", "string_too_long"), "at most"),
}
_MOST_SHOWN = 200
"""Largest number of characters of a wrong value that a message shows."""
_ACCUMULATION = (
    "gradient accumulation is refused: MDR and the miners look at the distances within a batch, and several small "
    "batches have other distances than one large one. For a batch that does not fit the memory set batch.chunk_size: "
    "its gradients are those of the whole batch."
)


def explain(
    error: ValidationError, model: type[BaseModel], quoted: Callable[[KeyPath, Any], str] | None = None
) -> list[tuple[KeyPath, str]]:
    """Return (path of keys, message) for each problem in `error`, which pydantic raised when it validated `model`.

    `quoted(path, value)` returns `value` in quotes, so that YAML reads it as text; empty if this is not possible.
    """
    found: list[tuple[KeyPath, str]] = []
    for each in error.errors(include_url=False):
        details: dict[str, Any] = dict(each)
        problem = details.get("ctx", {}).get("error")
        if isinstance(problem, UnknownArguments):
            found += _explain_unknown(problem, details, model)
        else:
            found.append(_explain_one(details, model, quoted or _quoted))
    return found


def _explain_unknown(
    problem: UnknownArguments, details: dict[str, Any], model: type[BaseModel]
) -> list[tuple[KeyPath, str]]:
    path = tuple(str(part) for part in details["loc"] if not is_tag(part))
    known = sorted({*fields_at(model, details["loc"]), *problem.known})
    return [((*path, key), _unknown_key((*path, key), details["input"][key], known, model)) for key in problem.keys]


def lines_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return `key: message` for each problem in `error`, which pydantic raised when it validated `model`."""
    return [f"{'.'.join(path)}: {message}" if path else message for path, message in explain(error, model)]


def _quoted(_: KeyPath, value: Any) -> str:
    return in_quotes(value, None)


def _explain_one(
    details: dict[str, Any], model: type[BaseModel], quoted: Callable[[KeyPath, Any], str]
) -> tuple[KeyPath, str]:
    location: tuple[Any, ...] = details["loc"]
    path = tuple(str(part) for part in location if not is_tag(part))
    kind, value, context = details["type"], details.get("input"), details.get("ctx", {})
    if kind == "extra_forbidden":
        if path[-1] in members_at(model, location[:-1]):
            return (
                path,
                f"unknown key. {path[-1]} is a name here: write {{name: {path[-1]}, ...}}, its keys beside the name",
            )
        return path, _unknown_key(path, value, fields_at(model, location[:-1]), model)
    if kind == "missing":
        return path, "is missing"
    if kind in ("literal_error", "enum"):
        section, as_section = _section_beside(model, location, value)
        fix = as_section or searched_instead(path, value) or _meant_literal(context["expected"], value)
        return path, f"expected {context['expected']}{section}, got {_show(value)}{fix}"
    if kind == "union_tag_invalid":
        return (*path, "name"), _unknown_member(path[-1], context)
    if kind in _TYPE_NAMES:
        fix = searched_instead(path, value) or meant_value(kind, value, partial(_accepts, model, location))
        if kind.startswith("model_") and (section := _meant_section(model, location, value)):
            fix = section
        if kind == "string_type" and value is None and path[-1] == "weights":
            fix = ": write none"
        elif kind == "string_type" and (as_text := quoted(path, value)):
            fix = f": put it in quotes: {as_text}"
        return path, f"expected {_TYPE_NAMES[kind]}, got {_show(value)}{fix}"
    if kind == "string_pattern_mismatch":
        return (
            path,
            f"{_show(value)} is not allowed: give 1 to 64 letters, digits, '_', '-' or '.', no sign first",
        )
    if kind == "string_unicode":
        return path, not_utf_8(str(value))
    if kind == "value_error":
        problem = context["error"]
        more = tuple(problem.key.split(".")) if isinstance(problem, KeyProblem) else ()
        return (*path, *more), str(problem)
    if kind in _LENGTHS:
        return path, _wrong_length(kind, value, context)
    message = re.sub(r"^(List|String) should", "must", details["msg"].replace("Input should be", "must be"))
    return path, f"{message}, got {_show(value)}{_unit_hint(model, location, value)}"


def _meant_literal(expected: str, value: Any) -> str:
    """Return the end of a message, such as `: write adam`, with the name in `expected` that is similar to `value`.

    `expected` has names in quotes, as pydantic lists them. The result is empty if none is similar.
    """
    known = re.findall(r"'([^']*)'", expected)
    if value in (None, False) and "none" in known:
        return ": write none"
    name = meant_name(str(value), known) if isinstance(value, str | int | float) else None
    return f": write {name}" if name is not None else ""


def _accepts(model: type[BaseModel], location: tuple[Any, ...], value: Any) -> bool:
    """Return whether the key at `location` in `model` accepts `value`. For an entry of a list, always return True."""
    while location and is_tag(location[-1]):
        location = location[:-1]
    key = location[-1] if location else None
    owners = [m for _, m in models_at(model, location[:-1]) if key in m.model_fields]
    return not owners or any(_takes(owner, str(key), value) for owner in owners)


def _takes(owner: type[BaseModel], key: str, value: Any) -> bool:
    try:
        owner.model_validate({key: value})
    except ValidationError as error:
        return all(details["loc"][:1] not in ((key,), ()) for details in error.errors())
    return True


def _meant_section(model: type[BaseModel], location: tuple[Any, ...], value: Any) -> str:
    """Return the end of a message about `value` in place of a section, such as `: write memory: {size: 512}`.

    It is empty if no key of the section at `location` in `model` takes the value.
    """
    if value is True:
        return ": write {}, whose keys all have defaults"
    if not location or value is None or value is False or str(value).lower() in NOTHING:
        return ""
    for _, section in models_at(model, location):
        for key in section.model_fields:
            if _takes(section, key, value):
                return f": write {location[-1]}: {{{key}: {flow(value)}}}"
    return ""


def _section_beside(model: type[BaseModel], location: tuple[Any, ...], value: Any) -> tuple[str, str]:
    """Return two texts for a message about `value` at a key that takes a name or a section, such as `embedding.head`.

    The first text is `, or {hidden: ...}`, with the required keys of the section. The second says which key of the
    section takes `value`; it is empty if no key does. Both are empty if the key takes names only.
    """
    if not is_tag(location[-1]):
        return "", ""
    place = location[:-1]
    required = [key for _, m in models_at(model, place) for key, field in m.model_fields.items() if field.is_required()]
    end = _meant_section(model, place, value) if not isinstance(value, bool | str) else ""
    return ", or {" + ", ".join(f"{key}: ..." for key in required) + "}", end


def _wrong_length(kind: str, value: Any, context: dict[str, Any]) -> str:
    wanted = context["min_length" if kind.endswith("short") else "max_length"]
    noun = "character" if kind.startswith("string") else "value"
    return f"must have {_LENGTHS[kind]} {count(wanted, noun)}, got {_show(value)}"


def _unit_hint(model: type[BaseModel], location: tuple[Any, ...], value: Any) -> str:
    """Return the end of a message about `value`, which is out of range: `: if a share of 1 is meant, write 70`.

    It is empty if the field at `location` of `model` has no unit, or if no other unit was likely meant.
    """
    places = [i for i, part in enumerate(location) if isinstance(part, str) and not is_tag(part)]
    if not places or not isinstance(value, int | float):
        return ""
    fields = [m.model_fields.get(location[places[-1]]) for _, m in models_at(model, location[: places[-1]])]
    units = [item for field in fields if field for item in field.metadata if isinstance(item, Unit)]
    return next((f": {unit.hint(value)}" for unit in units if unit.convert is not None and unit.note(value)), "")


def _unknown_key(path: KeyPath, value: Any, known: list[str], model: type[BaseModel]) -> str:
    key = path[-1]
    if "accum" in key.lower():
        return _ACCUMULATION
    if "loss" in path and key in ("num_classes", "embedding_size"):
        return f"{key} comes from {'the data set' if key == 'num_classes' else 'embedding.size'}: leave it out."
    if path[-1] in DOMAIN_KINDS and (elsewhere := searched_instead(path, value)):
        return f"unknown key{elsewhere}"
    if elsewhere := meant_place(path, value, all_keys(model), partial(_accepts_dotted, model)):
        return f"unknown key{elsewhere}"
    hint = meant_key(key, known, all_keys(model), ".".join(path[:-1]))
    return f"unknown key.{hint} Known here: {', '.join(known)}."


def _accepts_dotted(model: type[BaseModel], key: str, value: Any) -> bool:
    return _accepts(model, tuple(key.split(".")), value)


def _unknown_member(kind: str, context: dict[str, Any]) -> str:
    """Return the message about an unknown name at the key `kind`, such as the name of a loss at `loss`.

    `context` is pydantic's. A known name in it may end in a dot: `pml.` stands for all of the library's classes.
    """
    name, *known = map(tag_name, [context["tag"], *ast.literal_eval(f"[{context['expected_tags']}]")])
    listed = [f"{member}<Class of pytorch-metric-learning>" if member.endswith(".") else member for member in known]
    meant = meant_name(name, [member for member in known if member != IMPORT_PATH])
    hint = f" Did you mean {meant!r}?" if meant is not None else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(listed)}."


def _show(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    text = repr(value)
    shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
    return f"{shown} (text)" if isinstance(value, str) else shown
