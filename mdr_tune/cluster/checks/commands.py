"""The shell commands of a cluster file, taken apart as far as the checks need it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mdr_tune.cluster.cluster_file import ClusterFile, as_list
from mdr_tune.config.yaml_lines import KeyPath

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPERATORS = set(";&|\n")


@dataclass(frozen=True)
class Command:
    """One simple command: a program, its arguments, and the variables that are set for it in the same line.

    Attributes:
        path: Key path of the line in the file.
        variables: NAME=value before the program, or exported earlier in the line.
        words: The program and its arguments.
    """

    path: KeyPath
    variables: dict[str, str]
    words: list[str]

    def option(self, name: str) -> str | None:
        """Return the value of `--name value` or `--name=value`, the last if there are several; None without it."""
        found = None
        for i, word in enumerate(self.words):
            if word.startswith(f"{name}="):
                found = word.partition("=")[2]
            elif word == name and i + 1 < len(self.words):
                found = self.words[i + 1]
        return found

    def runs(self, *program: str) -> bool:
        """Return whether these are the first words, whatever folder the program is in."""
        first = [self.words[0].rpartition("/")[2], *self.words[1:]] if self.words else []
        return first[: len(program)] == list(program)

    def runs_script(self, name: str) -> bool:
        """Return whether it runs a script of this file name, with a shell or by itself."""
        return any(word.rpartition("/")[2] == name for word in self.words[:2])


def setup_commands(cluster: ClusterFile, kind: str) -> list[Command]:
    """Return what sets up a machine of kind "head" or "worker", Ray's defaults included, in order."""
    written = [command for key in ("initialization_commands",) for command in _lines(cluster.tree, (key,))]
    shared = _key(cluster, "setup_commands")
    shared_count = len(as_list(cluster.effective.get("setup_commands")))
    key = f"{kind}_setup_commands"
    if key in cluster.tree:
        own = _lines(cluster.tree, (key,))
    else:  # Ray put the shared commands before its own default
        own = _parsed(as_list(cluster.effective.get(key))[shared_count:], (key,), indexed=False)
    if kind == "worker":
        for _, path, node_type in cluster.node_types():
            for some in ("initialization_commands", "worker_setup_commands"):
                own += _parsed(as_list(node_type.get(some)), (*path, some), indexed=True)
    return written + shared + own


def start_commands(cluster: ClusterFile, kind: str) -> list[Command]:
    """Return what starts Ray on a machine of kind "head" or "worker", Ray's defaults included."""
    return _key(cluster, f"{kind}_start_ray_commands")


def is_ray_start(command: Command) -> bool:
    """Return whether a command starts Ray: `ray start`, or this project's script around it."""
    return command.runs("ray", "start") or command.runs_script("start_worker.sh")


def _key(cluster: ClusterFile, key: str) -> list[Command]:
    if key in cluster.tree:
        return _lines(cluster.tree, (key,))
    return _parsed(as_list(cluster.effective.get(key)), (key,), indexed=False)


def _lines(tree: dict[str, Any], path: KeyPath) -> list[Command]:
    return _parsed(as_list(tree.get(path[0])), path, indexed=True)


def _parsed(lines: list[Any], path: KeyPath, *, indexed: bool) -> list[Command]:
    return [
        command
        for i, line in enumerate(lines)
        for command in _simple_commands(str(line), (*path, str(i)) if indexed else path)
    ]


def _simple_commands(line: str, path: KeyPath) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # an open quote: the shell will say so; the words are looked at all the same
        words = line.split()
    exported: dict[str, str] = {}
    part: list[str] = []
    for word in [*words, ";"]:
        if not set(word) <= _OPERATORS:
            part.append(word)
            continue
        command = _with_variables(part, exported, path)
        part = []
        if command.runs("export"):
            exported.update(_assignments(command.words[1:]))
        elif command.words:
            yield command


def _with_variables(words: list[str], exported: dict[str, str], path: KeyPath) -> Command:
    before = 0
    while before < len(words) and _ASSIGNMENT.fullmatch(words[before]):
        before += 1
    return Command(path, {**exported, **_assignments(words[:before])}, words[before:])


def _assignments(words: list[str]) -> dict[str, str]:
    matches = [_ASSIGNMENT.fullmatch(word) for word in words]
    return {match.group(1): match.group(2) for match in matches if match}
