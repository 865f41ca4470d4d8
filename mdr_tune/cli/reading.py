"""What the commands share that read a recorded sweep: the flags that name the store, and opening it."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.errors import UserError
from mdr_tune.sweep.stores import Stores, check_stores, choose_stores

if TYPE_CHECKING:
    from mlflow import MlflowClient


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --tracking-uri and --storage, as launch.py has them."""
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow; default: MLFLOW_TRACKING_URI, or mlflow.db in the storage"
    )
    parser.add_argument("--storage", metavar="DIR", help="the sweep's storage; default: runs")


def open_store(arguments: argparse.Namespace) -> "tuple[Stores, MlflowClient]":
    """Return the stores that the flags name, and a client that does not wait long for an answer.

    Raises:
        UserError: There is no such store, or it does not answer.
    """
    stores = choose_stores(arguments.storage, arguments.tracking_uri)
    missing_file(stores)
    if not stores.tracking_uri.startswith("sqlite:"):
        check_stores(stores)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    return stores, MlflowClient(stores.tracking_uri)


def missing_file(stores: Stores) -> None:
    """Raise a UserError if the store is a database file that is not there: opening it would make an empty one."""
    if stores.tracking_uri.startswith("sqlite:///"):
        file = Path(stores.tracking_uri.removeprefix("sqlite:///"))
        if not file.exists():
            raise UserError(
                f"there is no MLflow store {file}: run this where the sweep was launched, or name its store with "
                "--tracking-uri or --storage"
            )
