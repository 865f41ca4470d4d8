"""The shell commands of a cluster file, taken apart as far as the checks need it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mdr_tune.cluster.cluster_file import ClusterFile, as_list
from mdr_tune.config.yaml_lines import KeyPath

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPERATORS = set(";&|\n")
_KEYWORDS = ("if", "then", "elif", "else", "while", "until", "do", "!", "{")
_WRAPPERS = ("sudo", "env", "nohup", "setsid", "exec", "command", "time", "timeout", "nice")  # they run what follows
_WRAPPER_VALUES = ("-u", "-g", "-n", "-k", "-s", "--user", "--group", "--adjustment", "--kill-after", "--signal")
_SHELLS = ("bash", "sh")


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


def setups(cluster: ClusterFile, kind: str) -> list[tuple[KeyPath, list[Command]]]:
    """Return each way in which machines of kind "head" or "worker" are set up, Ray's defaults included.

    A way is the key path of its commands and the commands, in order. What a node type has of its own takes the place of
    the shared commands, as Ray does it; so there may be several for workers.
    """
    key: KeyPath = (f"{kind}_setup_commands",)
    first, shared = _lines(cluster.tree, ("initialization_commands",)), _shared_setup(cluster, key[0])
    if kind == "head":
        return [(key, [*first, *shared])]
    found = []
    for name, path, node_type in cluster.node_types():
        if name == cluster.head_type:
            continue
        own, own_first = _own(node_type, (*path, key[0])), _own(node_type, (*path, "initialization_commands"))
        before, after = first if own_first is None else own_first, shared if own is None else own
        found.append((key if own is None else (*path, key[0]), [*before, *after]))
    return found or [(key, [*first, *shared])]


def setup_commands(cluster: ClusterFile, kind: str) -> list[Command]:
    """Return all commands that set up any machine of kind "head" or "worker", each once."""
    commands = [command for _, some in setups(cluster, kind) for command in some]
    return [command for i, command in enumerate(commands) if command not in commands[:i]]


def start_commands(cluster: ClusterFile, kind: str) -> list[Command]:
    """Return what starts Ray on a machine of kind "head" or "worker", Ray's defaults included."""
    return _key(cluster, f"{kind}_start_ray_commands")


def is_ray_start(command: Command) -> bool:
    """Return whether a command starts Ray: `ray start`, or this project's script around it."""
    return command.runs("ray", "start") or command.runs_script("start_worker.sh")


def _shared_setup(cluster: ClusterFile, key: str) -> list[Command]:
    shared = _key(cluster, "setup_commands")
    if key in cluster.tree:
        return [*shared, *_lines(cluster.tree, (key,))]
    count = len(as_list(cluster.effective.get("setup_commands")))  # Ray put the shared ones before its own default
    return [*shared, *_parsed(as_list(cluster.effective.get(key))[count:], (key,), indexed=False)]


def _own(node_type: dict[str, Any], path: KeyPath) -> list[Command] | None:
    return _parsed(as_list(node_type[path[-1]]), path, indexed=True) if path[-1] in node_type else None


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
        command = _unwrapped(Command(path, dict(exported), part))
        part = []
        script = _script(command)
        if command.runs("export"):
            exported.update(_assignments(command.words[1:]))
        elif script is not None:
            for inner in _simple_commands(script, path):
                yield Command(path, {**command.variables, **inner.variables}, inner.words)
        elif command.words:
            yield command


def _unwrapped(command: Command) -> Command:
    """Return a command without what stands before the program: variables, keywords, programs such as sudo."""
    variables, words = dict(command.variables), list(command.words)
    while words:
        word = words[0].lstrip("(")
        if match := _ASSIGNMENT.fullmatch(word):
            variables[match.group(1)] = match.group(2)
        elif word.rpartition("/")[2] in _WRAPPERS:
            words = _after_wrapper(words)
            continue
        elif word and word not in _KEYWORDS:
            words[0] = word
            break
        words = words[1:]
    if len(words) > 2 and re.fullmatch(r"python[\d.]*", words[0].rpartition("/")[2]) and words[1] == "-m":
        words = words[2:]
    return Command(command.path, variables, words)


def _after_wrapper(words: list[str]) -> list[str]:
    """Return what a program such as sudo runs: the words after it, its options and, of timeout, the time."""
    is_timeout, rest = words[0].rpartition("/")[2] == "timeout", words[1:]
    while rest and rest[0].startswith("-"):
        rest = rest[2 if rest[0] in _WRAPPER_VALUES else 1 :]
    return rest[1:] if is_timeout else rest


def _script(command: Command) -> str | None:
    """Return what a shell is given to run, `bash -c SCRIPT`; None if it is not that."""
    if not any(command.runs(shell) for shell in _SHELLS):
        return None
    for option, script in pairwise(command.words[1:]):
        if re.fullmatch(r"-[a-z]*c", option):
            return script
    return None


def _assignments(words: list[str]) -> dict[str, str]:
    matches = [_ASSIGNMENT.fullmatch(word) for word in words]
    return {match.group(1): match.group(2) for match in matches if match}
