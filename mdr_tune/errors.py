"""The one exception for mistakes a user can mend: the command line prints it without a traceback and exits with 2."""


class UserError(Exception):
    """A mistake in a file, a flag or the environment. Its text names the place and the fix.

    Several problems found in one go (a file with three wrong keys) are joined by newlines.
    """
