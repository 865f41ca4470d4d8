"""Exceptions for mistakes that a user can mend: the command line prints them without a traceback and exits with 2."""


class UserError(Exception):
    """A mistake in a file, a flag or the environment. The text names the place and the fix.

    Problems that are found together, such as three wrong keys of a file, are joined by newlines.
    """


class UnknownName(UserError, ValueError):  # noqa: N818 - pydantic takes it for a ValueError of a validator
    """A name that no data set, backbone, loss, argument or the like has. The text suggests a known one or lists all."""
