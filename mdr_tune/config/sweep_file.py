"""The YAML of a sweep, and where in it each key stands."""

import re
from pathlib import Path
from typing import Any

import yaml

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError


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


def _lines_of(node: yaml.Node | None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Map each key path of a composed document to its line number, from 1."""
    lines: dict[tuple[str, ...], int] = {}
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


class Source:
    """Where each key came from, so that a problem can name its file and line, or its --set."""

    def __init__(self, file: Path, lines: dict[tuple[str, ...], int]) -> None:
        self.file = file
        self.lines = {**{_less_choice(path): line for path, line in lines.items()}, **lines}
        self.written = set(lines)
        self.overridden: dict[tuple[str, ...], str] = {}

    def problem(self, path: tuple[str, ...], message: str) -> str:
        """Return `file:line: key: message`."""
        if "choice" in path and path[: path.index("choice") + 1] not in self.written:
            path = _less_choice(path)  # a list stands for {choice: [...]}
        key = ".".join(path)
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.overridden:
                return f"--set {self.overridden[path[:depth]]}: {key}: {message}"
        line = next((self.lines[path[:d]] for d in range(len(path), 0, -1) if path[:d] in self.lines), None)
        place = f"{self.file}:{line}" if line else str(self.file)
        return f"{place}: {key}: {message}" if key else f"{place}: {message}"


def _less_choice(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in path if part != "choice") if path[:1] == ("space",) else path


def read_tree(file: Path) -> tuple[dict[str, Any], Source]:
    """Return the content of a sweep file, and its places; UserError if it cannot be read as a mapping."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(str(p) for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f" There: {', '.join(beside)}." if beside else ""
        raise UserError(f"{file}: no such file.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
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
        raise UserError(f"{file}: expected a mapping with the keys {', '.join(SweepConfig.model_fields)}")
    return tree, Source(file, lines)
