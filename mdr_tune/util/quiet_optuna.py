"""What Optuna says of its own workings, kept off the terminal."""

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning


class without_warnings(warnings.catch_warnings):  # noqa: N801 - a context manager
    """No word on what Optuna calls experimental: it is not the user's to change."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", ExperimentalWarning)


def quiet_optuna() -> None:
    """Keep what Optuna says of its own workings off the terminal."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
