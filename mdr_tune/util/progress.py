"""The type of the functions to which long work reports its progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Function that is called with words for the present work, the number of finished items, and that of all items.

All calls come from the same thread.
"""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Do nothing. Pass this function where progress need not be reported."""
