"""One MLflow store for all tests of this folder: a fresh one costs three seconds of migrations."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from tests.mlflow_globals import mlflow_globals_kept


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a real sqlite store."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="session")
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture
def artifact_root(store: str) -> Path:
    return Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"


@pytest.fixture
def mlflow_globals(store: str) -> Iterator[None]:
    """Point MLflow's globals to the store, as a launch does, and put them back: they are environment variables too."""
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(store)
        yield
