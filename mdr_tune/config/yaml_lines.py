"""YAML that users write: read safely and strictly, with the line on which each key stands."""

import re
from pathlib import Path
from typing import Any

import yaml

from mdr_tune.errors import UserError

KeyPath = tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number (YAML 1.2) and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{line}: a key must be plain text")
            if key_node.value in seen:
                raise UserError(f"{line}: the key {key_node.value!r} stands twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def parse_yaml(text: str) -> Any:
    """Parse one YAML document safely."""
    return yaml.load(text, Loader=_Loader)


def read_mapping(file: Path, keys: list[str]) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Return the mapping that a file holds, and the line of each key path in it, from 1.

    Args:
        file: The YAML.
        keys: The keys at its top, for the message if it is not a mapping.

    Raises:
        UserError: It cannot be read, is not YAML, or not a mapping.
    """
    text = _text_of(file)
    try:
        lines = _lines_of(yaml.compose(text, Loader=_Loader))
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise UserError(f"{place}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except UserError as error:
        raise UserError(f"{file}:{error}") from None
    except RecursionError:
        raise UserError(f"{file}: an alias (*name) refers to the mapping that contains it") from None
    if not isinstance(tree, dict):
        raise UserError(f"{file}: expected a mapping with the keys {', '.join(keys)}")
    return tree, lines


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(str(p) for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f" There: {', '.join(beside)}." if beside else ""
        raise UserError(f"{file}: no such file.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None


def _lines_of(node: yaml.Node | None, path: KeyPath = ()) -> dict[KeyPath, int]:
    """Map each key path of a composed document to its line number, from 1."""
    lines: dict[KeyPath, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            here = (*path, str(key_node.value))
            lines[here] = key_node.start_mark.line + 1
            lines.update(_lines_of(value_node, here))
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*path, str(i))] = item.start_mark.line + 1
            lines.update(_lines_of(item, (*path, str(i))))
    return lines
