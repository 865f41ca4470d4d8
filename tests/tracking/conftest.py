"""One MLflow store for all tests of this folder: a fresh one costs three seconds of migrations."""

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient


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
    before = {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_")}
    mlflow.set_tracking_uri(store)
    yield
    mlflow.set_tracking_uri(None)
    for key in [key for key in os.environ if key.startswith("MLFLOW_")]:
        del os.environ[key]
    os.environ.update(before)
