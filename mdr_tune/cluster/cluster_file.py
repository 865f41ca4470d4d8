"""Read a cluster file, the file for `ray up`: its contents, and the line of each key."""

import copy
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mdr_tune.config.yaml_lines import KeyPath, RayLoader, read_mapping

TOP_KEYS = ["cluster_name", "provider", "auth", "file_mounts", "available_node_types", "head_start_ray_commands"]


_EXAMPLES = [ipaddress.IPv4Network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


class Problem(NamedTuple):
    """A problem with the key `path` of a cluster file. The `message` says what is wrong, and what to write instead."""

    path: KeyPath
    message: str


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file, as it is written and as Ray completes it.

    Attributes:
        file: Path of the file.
        tree: Contents of the file.
        lines: Line number of each key, counted from 1, by the key's path from the top of the file.
        effective: Contents with Ray's defaults for missing keys; empty if the file has problems that Ray reports.
    """

    file: Path
    tree: dict[str, Any]
    lines: dict[KeyPath, int]
    effective: dict[str, Any]

    @property
    def provider(self) -> dict[str, Any]:
        """The mapping under the key `provider`, which says where the machines come from, such as AWS."""
        return as_mapping(self.tree.get("provider"))

    @property
    def is_aws(self) -> bool:
        """Whether Ray gets the machines from AWS."""
        return self.provider.get("type") == "aws"

    @property
    def head_type(self) -> str:
        """Name of the head's node type."""
        return str(self.effective.get("head_node_type", ""))

    def node_types(self) -> Iterator[tuple[str, KeyPath, dict[str, Any]]]:
        """Yield the name, the key path and the mapping of each node type in the file."""
        for name, node_type in as_mapping(self.tree.get("available_node_types")).items():
            yield str(name), ("available_node_types", str(name)), as_mapping(node_type)

    def aws_machines(self) -> Iterator[tuple[str, KeyPath, dict[str, Any]]]:
        """Yield the name of each node type, the path of its `node_config`, and this mapping; nothing if not on AWS."""
        if self.is_aws:
            for name, path, node_type in self.node_types():
                yield name, (*path, "node_config"), as_mapping(node_type.get("node_config"))

    def line(self, path: KeyPath) -> int:
        """Return the line number of the key `path`. If the file lacks the key, take the nearest key above it, or 0."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 0)

    def describe(self, problem: Problem) -> str:
        """Return `problem` as a line for the user: `file:line: key: message`."""
        line, key = self.line(problem.path), [".".join(problem.path)] if problem.path else []
        return ": ".join([f"{self.file}:{line}" if line else str(self.file), *key, problem.message])


def read_cluster_file(file: Path) -> ClusterFile:
    """Read `file`, or raise UserError if it is no YAML mapping. `effective` is still without Ray's defaults."""
    document = read_mapping(file, TOP_KEYS, RayLoader)
    return ClusterFile(file, document.tree, document.lines, copy.deepcopy(document.tree))


def as_mapping(value: Any) -> dict[str, Any]:
    """Return `value` if it is a mapping, else an empty mapping: another check reports a wrong type."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty list: another check reports a wrong type."""
    return value if isinstance(value, list) else []


def is_example(address: str) -> bool:
    """Return whether the IP address or network `address` is reserved for examples (RFC 5737), such as 192.0.2.1."""
    try:
        network = ipaddress.IPv4Network(address, strict=False)
    except ValueError:
        return False
    return any(network.subnet_of(example) for example in _EXAMPLES)
