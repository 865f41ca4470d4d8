"""How work that takes a while tells how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many of its items are done, and how many there are. Called from one thread."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Say nothing."""
