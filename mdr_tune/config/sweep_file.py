"""Read the YAML of a sweep file, and keep the place where each key was given."""

from pathlib import Path
from typing import Any

from mdr_tune.config.hints import flag_as_text, in_quotes
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.yaml_lines import Document, KeyPath, read_mapping


class Source:
    """The places where the keys of a sweep were given: a line of the sweep file, or a --set. Messages name them.

    Attributes:
        lines: Line of each key path in the sweep file. A path with `choice` is also listed without it.
        written: Key paths that the sweep file contains.
        spelled: Spelling in the sweep file of each number, boolean and null, by key path.
        overridden: Text `KEY=VALUE` of each --set, by the key path that it sets.
    """

    def __init__(self, file: Path, document: Document) -> None:
        self.file = file
        self.lines = {**{_less_choice(path): line for path, line in document.lines.items()}, **document.lines}
        self.written = set(document.lines)
        self.spelled = document.spelled
        self.overridden: dict[KeyPath, str] = {}

    def quoted(self, path: KeyPath, value: Any) -> str:
        """Return `value` at `path` in quotes, so that YAML reads it as text. For a --set, return the whole flag."""
        if path in self.overridden:
            return flag_as_text(self.overridden[path], value)
        return in_quotes(value, self.spelled.get(path))

    def problem(self, path: tuple[str, ...], message: str) -> str:
        """Return `message` after the key at `path` and its place: `file:line: key: ` or `--set KEY=VALUE: key: `."""
        if "choice" in path and path[: path.index("choice") + 1] not in self.written:
            path = _less_choice(path)  # a list stands for {choice: [...]}
        key = ".".join(path)
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.overridden:
                return f"--set {self.overridden[path[:depth]]}: {key}: {message}"
        if path not in self.lines:  # a section that a --set below it made
            for deeper, text in self.overridden.items():
                if path and deeper[: len(path)] == path:
                    return f"--set {text}: {key}: {message}"
        line = next((self.lines[path[:d]] for d in range(len(path), 0, -1) if path[:d] in self.lines), None)
        place = f"{self.file}:{line}" if line else str(self.file)
        return f"{place}: {key}: {message}" if key else f"{place}: {message}"


def _less_choice(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in path if part != "choice") if path[:1] == ("space",) else path


def read_tree(file: Path) -> tuple[dict[str, Any], Source]:
    """Return the content of the sweep file `file`, and the places of its keys. Raise UserError if it is not valid."""
    document = read_mapping(file, list(SweepConfig.model_fields))
    return document.tree, Source(file, document)
