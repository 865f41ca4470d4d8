"""Split the shell commands of a cluster file into programs and arguments, as far as the checks need it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mdr_tune.cluster.cluster_file import ClusterFile, as_list
from mdr_tune.config.yaml_lines import KeyPath

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPERATORS = ";&|()\n"
_SCRIPT_FOLLOWS = re.compile(r"-[a-z]*c")  # bash -lc SCRIPT
_SETUP_KEYS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")


@dataclass(frozen=True)
class Command:
    """A shell command at the key `path`. `words` are a program and its arguments, perhaps after words such as sudo.

    `variables` are those set by NAME=value in the command, or exported earlier in the line.
    """

    path: KeyPath
    words: list[str]
    variables: dict[str, str]

    def option(self, name: str) -> str | None:
        """Return the last value of the option `name`, such as `--host`, in the command; None if it is missing."""
        found = None
        for i, word in enumerate(self.words):
            if word.startswith(f"{name}="):
                found = word.partition("=")[2]
            elif word == name and i + 1 < len(self.words):
                found = self.words[i + 1]
        return found

    def runs(self, *program: str) -> bool:
        """Return whether the words of `program` follow each other in the command. `/usr/bin/pip` counts as `pip`."""
        names = [word.rpartition("/")[2] for word in self.words]
        return any(names[i : i + len(program)] == list(program) for i in range(len(names)))

    @property
    def starts_ray(self) -> bool:
        """Whether the command starts Ray, by `ray start` or by this project's start_worker.sh."""
        return self.runs("ray", "start") or self.runs("start_worker.sh")


def setup_commands(cluster: ClusterFile) -> Iterator[Command]:
    """Yield the commands in `cluster` that set up machines: all nodes, the head, workers, and nodes of one type.

    If the file has no `setup_commands`, Ray's default commands are yielded too.
    """
    for key in _SETUP_KEYS:
        if key == "setup_commands" and key not in cluster.tree:
            yield from _parsed(cluster.effective.get(key), (key,), indexed=False)
        yield from _parsed(cluster.tree.get(key), (key,))
        for _, path, node_type in cluster.node_types():
            yield from _parsed(node_type.get(key), (*path, key))


def ray_starts(cluster: ClusterFile, kind: str) -> Iterator[Command]:
    """Yield the commands that start Ray on the nodes of a `kind`, "head" or "worker", of `cluster`.

    If the file has no `head_start_ray_commands` or `worker_start_ray_commands`, Ray's default commands are yielded.
    """
    key = f"{kind}_start_ray_commands"
    is_written = key in cluster.tree
    lines = (cluster.tree if is_written else cluster.effective).get(key)
    yield from (command for command in _parsed(lines, (key,), indexed=is_written) if command.starts_ray)


def _parsed(lines: Any, path: KeyPath, *, indexed: bool = True) -> Iterator[Command]:
    for i, line in enumerate(as_list(lines)):
        exported: dict[str, str] = {}
        for words in _simple_commands(str(line)):
            variables = {match[1]: match[2] for match in map(_ASSIGNMENT.fullmatch, words) if match}
            if words[0] == "export":
                exported |= variables
            yield Command((*path, str(i)) if indexed else path, words, exported | variables)


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    try:
        words = list(lexer)
    except ValueError:  # a quote is not closed: the shell will report it; check the words anyway
        words = line.split()
    part: list[str] = []
    for word in [*words, ";"]:
        if part and _SCRIPT_FOLLOWS.fullmatch(part[-1]):
            yield from _simple_commands(word)
        if not set(word) <= set(_OPERATORS):
            part.append(word)
        elif part:
            yield part
            part = []
