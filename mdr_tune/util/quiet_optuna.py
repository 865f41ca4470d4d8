"""Keep Optuna's messages about its own workings off the terminal."""

import warnings

import optuna
from optuna.exceptions import ExperimentalWarning


class without_warnings(warnings.catch_warnings):  # noqa: N801 - a context manager
    """Suppress Optuna's warnings on experimental features within a block: the user cannot change them."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", ExperimentalWarning)


def quiet_optuna() -> None:
    """Let Optuna log errors only."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
