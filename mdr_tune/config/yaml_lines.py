"""Read YAML that users write, safely and strictly, and keep the line of each key.

Scalars are read by the core schema of YAML 1.2: 010 is ten, 1e-3 is a number, and only true and false are booleans.
`no`, `1:30` and dates are text. All keys are text. Merge keys (`<<: *defaults`) are read as PyYAML reads them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from mdr_tune.util.errors import UserError
from mdr_tune.util.files import check_on_disk

KeyPath = tuple[str, ...]
MOST_NESTED = 50
"""Largest depth of nested lists and mappings. No real file needs more, and each level uses some of Python's stack."""
MOST_VALUES = 100_000
"""Largest number of values in a file. Each alias counts its value again: nine short lines can stand for billions."""
LARGEST = 2**64
"""Bound of whole numbers. Their absolute value must be smaller than this."""
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_Converter = Callable[[str], Any]
_CORE: dict[str, tuple[str, list[str], _Converter]] = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""], lambda text: None),
    "bool": (
        r"true|True|TRUE|false|False|FALSE",
        list("tTfF"),
        lambda text: {"true": True, "false": False}[text.lower()],
    ),
    "int": (
        r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
        list("-+0123456789"),
        lambda text: int(text, 0 if text[:2] in ("0o", "0x") else 10),
    ),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
        lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    ),
}
"""Plain scalars that are not text, by type: pattern, possible first characters, and converter. The first match counts.
"""


class _Nested:
    """Mixin that makes a loader refuse lists and mappings nested too deeply, before Python's stack overflows."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        self.depth += 1
        if self.depth > MOST_NESTED:
            problem = f"lists and mappings are nested more than {MOST_NESTED} deep"
            raise yaml.MarkedYAMLError(None, None, problem, self.peek_event().start_mark)  # type: ignore[attr-defined]
        node = super().compose_node(parent, index)  # type: ignore[misc]
        self.depth -= 1
        return node


class RayLoader(_Nested, yaml.SafeLoader):
    """Loader of YAML 1.1, by whose rules the command `ray up` reads a cluster file."""


class CoreLoader(_Nested, yaml.SafeLoader):
    """Loader of YAML 1.2's core schema, with merge keys."""

    yaml_implicit_resolvers = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {None: yaml.SafeLoader.construct_undefined}


for _name, (_pattern, _first, _convert) in _CORE.items():
    CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), _first)
    CoreLoader.add_constructor(_TAG + _name, lambda _, node, convert=_convert: convert(node.value))  # type: ignore[misc]
CoreLoader.add_implicit_resolver(_MERGE, re.compile(r"<<\Z"), ["<"])
for _tag in (_MERGE, _TAG + "str"):
    CoreLoader.add_constructor(_tag, lambda _, node: node.value)


@dataclass(frozen=True)
class Document:
    """One YAML document.

    Attributes:
        tree: Content of the document. Each alias is replaced by a separate copy of the value that it refers to.
        lines: Line of each key path, from 1. A key inside of an aliased mapping has the line where it is written.
        spelled: Spelling of each plain scalar that is not text (a number, a boolean or null), by key path.
        end: Number of characters up to the end of the content.
    """

    tree: Any
    lines: dict[KeyPath, int]
    spelled: dict[KeyPath, str]
    end: int


def parse_yaml(text: str) -> Any:
    """Return the content of `text`, one YAML document. Raise UserError with the line if it is not valid YAML."""
    return _read(text, CoreLoader).tree


def parse_flag(text: str) -> Any:
    """Return the value that `text`, the VALUE of a `--set KEY=VALUE`, stands for.

    `text` is read as YAML if it is a number, true, false, null or empty, or if [], {} or quotes enclose all of it. Any
    other text is returned as it is. Raise UserError if it begins with [ or {, but is no valid list or mapping.
    """
    stripped = text.strip()
    if stripped[:1] not in ("[", "{", '"', "'"):
        tag = CoreLoader("").resolve(yaml.ScalarNode, stripped, (True, False))
        return parse_yaml(stripped) if tag.removeprefix(_TAG) in _CORE else text
    try:
        found = _read(stripped, CoreLoader)
        if found.end < len(stripped):
            raise _Problem(f"1: {stripped[found.end :]!r} stands behind its end")
    except _Problem:
        if stripped[0] in "[{":
            raise
        return text
    return found.tree if stripped[0] in "[{" or isinstance(found.tree, str) else text


def read_mapping(file: Path, keys: list[str], loader: type[yaml.SafeLoader] = CoreLoader) -> Document:
    """Read the YAML `file`, which holds a mapping.

    `keys` are the keys at the top of such a file, for the message about a file without a mapping. `loader` is
    `CoreLoader`, or `RayLoader` for a file that Ray reads too.

    Raises:
        UserError: The file cannot be read, is not valid YAML, or does not hold a mapping.
    """
    try:
        document = _read(_text_of(file), loader)
    except _Problem as problem:
        raise UserError(f"{file}:{problem}") from None
    if not isinstance(document.tree, dict):
        raise UserError(f"{file}: expected a mapping with the keys {', '.join(keys)}")
    return document


def _text_of(file: Path) -> str:
    try:
        check_on_disk(file)
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(str(p) for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f" There: {', '.join(beside)}." if beside else ""
        raise UserError(f"{file}: no such file.{hint}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: cannot be read: {error}; it is not UTF-8: save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None


class _Problem(UserError):  # noqa: N818 - it says where in a document a user errs
    """A mistake in a document. The message begins with the number of the line."""


def _problem(node: yaml.Node, message: str) -> _Problem:
    return _Problem(f"{node.start_mark.line + 1}: {message}")


def _read(text: str, loader_class: type[yaml.SafeLoader]) -> Document:
    try:
        loader = loader_class(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Problem(f"{line}: not valid YAML: it holds the character U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _Problem(f"{line}: not valid YAML: {error.problem or error.context}") from None
    except (ValueError, OverflowError) as error:  # an escape such as \UFFFFFFFF
        raise _Problem(f"{loader.get_mark().line + 1}: not valid YAML: {error}") from None
    reader = _Reader(loader)
    tree = None if root is None else reader.value(root, ())
    return Document(tree, reader.lines, reader.spelled, 0 if root is None else root.end_mark.index)


class _Reader:
    """Convert the nodes of a document to values, and collect the lines and spellings of keys by key path."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.loader = loader
        self.lines: dict[KeyPath, int] = {}
        self.spelled: dict[KeyPath, str] = {}
        self._open: list[yaml.Node] = []
        self._values = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return the value of `node` at `path`, and store the line of each key path below `path`."""
        if isinstance(node, yaml.ScalarNode):
            found = self._scalar(node)
            if node.style is None and not isinstance(found, str):
                self.spelled[path] = node.value
            return found
        self._enter(node)
        if isinstance(node, yaml.SequenceNode):
            items = [((*path, str(i)), item.start_mark.line + 1, item) for i, item in enumerate(node.value)]
            self.lines.update((here, line) for here, line, _ in items)
            result: Any = [self.value(item, here) for here, _, item in items]
        else:
            result = {}
            for key, (line, value_node) in self._pairs(node).items():
                here = (*path, str(key))
                self.lines[here] = line
                result[key] = self.value(value_node, here)
        self._open.pop()
        return result

    def _enter(self, node: yaml.Node) -> None:
        """Check the tag, depth and size of `node`, and that it does not contain itself; then mark it as being read."""
        if node.tag not in (_TAG + "seq", _TAG + "map"):
            raise _problem(node, f"not valid YAML: the tag {node.tag} has no meaning here: leave it out")
        if any(node is other for other in self._open):
            raise _problem(node, "an alias (*name) refers to the mapping or list that contains it")
        if len(self._open) >= MOST_NESTED:
            raise _problem(node, f"with its aliases (*name) the file is nested more than {MOST_NESTED} deep")
        self._open.append(node)
        self._values += 1 + len(node.value)
        if self._values > MOST_VALUES:
            raise _problem(node, f"with its aliases (*name) the file has more than {MOST_VALUES:,} values")

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            found = self.loader.construct_object(node)
        except yaml.MarkedYAMLError:
            raise _problem(node, f"not valid YAML: the tag {node.tag} has no meaning here: leave it out") from None
        except (ValueError, KeyError, OverflowError):  # a date that the calendar lacks, thousands of digits
            raise _problem(node, f"{node.value[:40]!r} cannot be read as {node.tag.removeprefix(_TAG)}") from None
        if isinstance(found, int) and abs(found) >= LARGEST:
            raise _problem(node, f"{node.value[:40]} is larger than any number can be here")
        if isinstance(found, str) and re.search("[\0\ud800-\udfff]", found):
            raise _problem(node, f"{found[:40]!r} holds a character that is none of any text")
        return found

    def _pairs(self, node: yaml.Node) -> dict[Any, tuple[int, yaml.Node]]:
        """Return {key: (line, node of the value)} of the mapping `node`. Keys from merged mappings come first."""
        own: dict[Any, tuple[int, yaml.Node]] = {}
        merged: dict[Any, tuple[int, yaml.Node]] | None = None
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem(key_node, "a key must be plain text")
            if key_node.tag == _MERGE:
                if merged is not None:
                    raise _problem(key_node, "the key '<<' stands twice: merge several mappings with <<: [*a, *b]")
                merged = self._merged(value_node)
                continue
            key = key_node.value if isinstance(self.loader, CoreLoader) else self._scalar(key_node)
            if key in own:
                raise _problem(key_node, f"the key {key!r} stands twice")
            own[key] = (key_node.start_mark.line + 1, value_node)
        return {**(merged or {}), **own}

    def _merged(self, node: yaml.Node) -> dict[Any, tuple[int, yaml.Node]]:
        """Return {key: (line, node of the value)} of the mappings in `node`, the value of a merge key (`<<`).

        If several mappings have the same key, the first of them counts.
        """
        merged: dict[Any, tuple[int, yaml.Node]] = {}
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode):
                raise _problem(source, "<< takes a mapping, such as <<: *defaults, or a list of mappings: <<: [*a, *b]")
            self._enter(source)
            merged = {**self._pairs(source), **merged}
            self._open.pop()
        return merged
