"""The type of the functions to which long tasks report their progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Function that is called with words for the task, the number of finished items, and the number of all items.

All calls come from the same thread.
"""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Do nothing. Pass this function where progress need not be reported."""
