"""Type of the function by which long work reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Function that takes what is being done, how many items are done, and how many there are. Called from one thread."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Report nothing."""
