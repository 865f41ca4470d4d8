"""A problem that a check found on a node, with its remedy, and the lines that a user reads."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A fault of a node that would make the sweep fail, or a note for the user.

    Attributes:
        check: Name of the check that found the problem, in a word.
        node: Name of the node; see `names_of`.
        what: Description of the problem.
        remedy: Advice on how to mend it.
        is_note: Whether the sweep runs all the same.
    """

    check: str
    node: str
    what: str
    remedy: str
    is_note: bool = False


def as_lines(problems: Iterable[Problem]) -> list[str]:
    """Return a line for each different problem, with all nodes that have it, in the order of the problems."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        found = nodes.setdefault((problem.check, problem.what, problem.remedy), [])
        if problem.node not in found:
            found.append(problem.node)
    return [f"{check}: on {', '.join(where)}: {what}; {remedy}" for (check, what, remedy), where in nodes.items()]
