"""MLflow's globals, which are environment variables too."""

import contextlib
import os
from collections.abc import Iterator

import mlflow


@contextlib.contextmanager
def mlflow_globals_kept() -> Iterator[None]:
    """Put MLflow's globals back, after the block, as they were before it."""
    before = {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_")}
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        for key in [key for key in os.environ if key.startswith("MLFLOW_")]:
            del os.environ[key]
        os.environ.update(before)
