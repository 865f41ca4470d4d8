"""Define the problem that a check reports about a node, and turn problems into lines for the user."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A fault of a node that would make the sweep fail, or a note for the user.

    Attributes:
        check: Name of the check that found the problem, such as `versions`.
        node: Name of the node; see `names_of`.
        what: Description of the problem. `remedy` is advice on how to solve it.
        is_note: Whether this is only a note, so that the sweep runs in spite of it.
    """

    check: str
    node: str
    what: str
    remedy: str
    is_note: bool = False


def as_lines(problems: Iterable[Problem]) -> list[str]:
    """Return a line for each distinct problem in `problems`, in their order. It names all nodes with the problem."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        found = nodes.setdefault((problem.check, problem.what, problem.remedy), [])
        if problem.node not in found:
            found.append(problem.node)
    return [f"{check}: on {', '.join(where)}: {what}; {remedy}" for (check, what, remedy), where in nodes.items()]
