"""What the commands share that read a recorded sweep: the flags that name the store, and opening it."""

import argparse
import os
from typing import TYPE_CHECKING

from mdr_tune.sweep.stores import Stores, check_readable, choose_stores, open_client

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
        UserError: There is no such store, it cannot be read, or it does not answer.
    """
    stores = choose_stores(arguments.storage, arguments.tracking_uri)
    check_readable(stores)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    return stores, open_client(stores)
