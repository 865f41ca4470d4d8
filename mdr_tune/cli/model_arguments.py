"""What `embed` and `search` share: the flags that name a model, loading it, and errors that name the flag."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from mdr_tune.cli.leaderboard import at_least_1
from mdr_tune.cli.reading import add_store_arguments, open_store
from mdr_tune.util.errors import UserError

if TYPE_CHECKING:
    from mdr_tune.retrieve import Embedder, LeftOut


def add_model_arguments(parser: argparse.ArgumentParser, required: bool, help_text: str) -> None:
    """Add --model, --batch-size, and the flags that name the store of the model."""
    parser.add_argument("--model", required=required, metavar="URI", help=help_text)
    parser.add_argument(
        "--batch-size", type=at_least_1, default=64, metavar="N", help="images through the network at a time (64)"
    )
    add_store_arguments(parser)


def load_model(arguments: argparse.Namespace, uri: str) -> "Embedder":
    """Load a model, from the store that the flags name if it is in one.

    Raises:
        UserError: There is no such store or model.
    """
    from mdr_tune.tracking.loading import load_embedder, needs_store

    client = open_store(arguments)[1] if needs_store(uri) else None
    with naming("--model"):
        return load_embedder(uri, client)


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Put the flag before the text of a user's error."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{flag}: {error}") from error


def print_left_out(console: Console, left_out: "Sequence[LeftOut]", total: int) -> None:
    """Say which images have no embedding."""
    if not left_out:
        return
    from mdr_tune.data.images.corrupt import finding

    console.print(f"Left out: {finding(left_out, total)}", style="yellow", soft_wrap=True, markup=False)
