"""Add flags that several commands share, and open the store or load the model that these flags name."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from mdr_tune.cli.terminal import say
from mdr_tune.sweep.stores import Stores, check_readable, choose_stores, open_client
from mdr_tune.util.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mdr_tune.retrieve import Embedder, LeftOut


def at_least_1(text: str) -> int:
    """Convert the `text` of a flag to a whole number of at least 1. Raise ArgumentTypeError if it is not one."""
    return _at_least(1, text)


def at_least_0(text: str) -> int:
    """Convert the `text` of a flag to a whole number of at least 0. Raise ArgumentTypeError if it is not one."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
    return int(text)


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags --tracking-uri and --storage to `parser`, which mean the same as in launch.py."""
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow; default: MLFLOW_TRACKING_URI, or mlflow.db in the storage"
    )
    parser.add_argument("--storage", metavar="DIR", help="the sweep's storage; default: runs")


def open_store(arguments: argparse.Namespace) -> "tuple[Stores, MlflowClient]":
    """Return the stores that the flags in `arguments` name, and an MLflow client.

    A request of the client ends after 30 s and is retried once, unless the environment sets other limits. UserError is
    raised if a store is missing, cannot be read, or does not answer.
    """
    stores = choose_stores(arguments.storage, arguments.tracking_uri)
    check_readable(stores)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    return stores, open_client(stores)


def add_model_arguments(parser: argparse.ArgumentParser, required: bool, help_text: str) -> None:
    """Add to `parser` the flags --model, --batch-size and --code, and the flags that name the store of the model.

    `required` says whether --model must be given. `help_text` is the help for --model.
    """
    parser.add_argument("--model", required=required, metavar="URI", help=help_text)
    parser.add_argument(
        "--batch-size", type=at_least_1, default=64, metavar="N", help="images through the network at a time (64)"
    )
    parser.add_argument("--code", metavar="DIR", help="the folder of your own modules, for a model that needs them")
    add_store_arguments(parser)


def load_model(arguments: argparse.Namespace, uri: str) -> "Embedder":
    """Load the model at `uri`, from a folder or from the store that `arguments` name. UserError if it is not there."""
    from mdr_tune.tracking.loading import load_embedder, needs_store

    client = open_store(arguments)[1] if needs_store(uri) else None
    with naming("--model"):
        return load_embedder(uri, client, code=arguments.code)


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Put `flag` before the text of a UserError that is raised in the block."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{flag}: {error}") from error


def print_left_out(console: Console, left_out: "Sequence[LeftOut]", total: int) -> None:
    """Print on `console` how many of `total` images have no embedding, and name the first few of `left_out`.

    If no image was left out, nothing is printed.
    """
    if not left_out:
        return
    from mdr_tune.data.images.corrupt import finding

    say(console, f"Left out: {finding(left_out, total)}", style="yellow")
