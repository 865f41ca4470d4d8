"""Exceptions for mistakes that a user can correct.

The command line prints their text without a traceback, and ends with exit code 2.
"""


class UserError(Exception):
    """The user made a mistake in a file, an option or the environment. The text says where, and how to correct it.

    If several mistakes are found together, such as three wrong keys of a file, the text has a line for each.
    """


class UnknownName(UserError, ValueError):  # noqa: N818 - pydantic takes it for a ValueError of a validator
    """The user wrote an unknown name, for example of a loss. The text suggests a known name or lists all known ones."""
