"""An empty MLflow store, made once in each process: MLflow takes more than a second for its tables."""

import functools
import tempfile
from pathlib import Path

from mlflow import MlflowClient

from mdr_tune.util.sqlite_address import sqlite_url


def put_empty_store(file: Path) -> None:
    """Write an empty store into a file, unless the file is there."""
    if not file.exists():
        file.write_bytes(_tables())


@functools.cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mlflow.db")
        MlflowClient(sqlite_url(file)).search_experiments()
        assert [entry.name for entry in file.parent.iterdir()] == [file.name]  # no write-ahead log beside it
        return file.read_bytes()
