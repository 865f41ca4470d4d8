"""What a check found: on which node, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that would go wrong, or that a user should know.

    Attributes:
        check: Which check found it, in a word.
        node: Address of the node.
        what: What is wrong there.
        remedy: What to do.
        is_note: The sweep runs all the same.
    """

    check: str
    node: str
    what: str
    remedy: str
    is_note: bool = False


def as_lines(problems: Iterable[Problem]) -> list[str]:
    """Return a line for each different problem, with all nodes that have it, in the order of the checks."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        found = nodes.setdefault((problem.check, problem.what, problem.remedy), [])
        if problem.node not in found:
            found.append(problem.node)
    return [f"{check}: on {', '.join(where)}: {what}; {remedy}" for (check, what, remedy), where in nodes.items()]
