"""Suppress Optuna's messages on the terminal that do not concern the user."""

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning


class without_warnings(warnings.catch_warnings):  # noqa: N801 - a context manager
    """Context manager that suppresses Optuna's warnings about experimental features, which do not concern the user."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", ExperimentalWarning)


def quiet_optuna() -> None:
    """Make Optuna log only errors."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
