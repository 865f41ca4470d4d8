"""The one exception for mistakes a user can mend: the command line prints it without a traceback and exits with 2."""


class UserError(Exception):
    """A mistake in a file, a flag or the environment. Its text names the place and the fix.

    Several problems found in one go (a file with three wrong keys) are joined by newlines.
    """


class UnknownName(UserError, ValueError):  # noqa: N818 - pydantic takes it for a ValueError of a validator
    """There is no data set, backbone, loss, argument or the like of a name. The text suggests one, or lists all."""
