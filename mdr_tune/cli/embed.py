"""`mdr-tune embed --model URI --images DIR --out FILE`: write the embeddings of a folder's images to a Parquet file."""

import argparse
import os
from pathlib import Path

from rich.console import Console

from mdr_tune.cli.flags import add_model_arguments, load_model, naming, print_left_out
from mdr_tune.cli.progress_bars import progress_bars
from mdr_tune.cli.terminal import say
from mdr_tune.util.errors import UserError

_DESCRIPTION = """\
Embed all images in a folder and in those below it with a trained model. The Parquet file has a row an image: its path
relative to the folder, its label (the first folder of the path) and its embedding. Images are resized and cut as in an
evaluation. What cannot be decoded is left out, and said. Search it with `mdr-tune search`.
"""
_MODEL = "models:/NAME@champion, models:/NAME/VERSION, runs:/RUN_ID/model, or a folder with a downloaded model"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `embed` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser(
        "embed", help="embed a folder of images with a trained model", description=_DESCRIPTION
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="the folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="to write: a name ending in .parquet")
    parser.add_argument("--strict", action="store_true", help="stop at an image that cannot be decoded")
    add_model_arguments(parser, required=True, help_text=_MODEL)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Embed the images of the folder that `arguments` name into a file, print a summary on `console`, and return 0.

    An image that cannot be read is left out or, with --strict, raises UserError. So does a folder with no other images.
    """
    _check(arguments)
    from mdr_tune.retrieve import embed_folder
    from mdr_tune.retrieve.pictures import list_images

    with naming("--images"):
        paths = list_images(arguments.images)  # before a model is fetched
    embedder = load_model(arguments, arguments.model)
    with progress_bars(console) as progress:
        done = embed_folder(
            embedder,
            arguments.images,
            arguments.out,
            batch_size=arguments.batch_size,
            strict=arguments.strict,
            progress=progress,
            paths=paths,
        )
    print_left_out(console, done.left_out, done.images + len(done.left_out))
    made = f"{done.images:,} embeddings of {embedder.size} numbers, by {embedder.uri} on {embedder.device.type}"
    say(console, f"{made}: {arguments.out}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise UserError if the file that --out names cannot be written. This is checked before a model is loaded."""
    out: Path = arguments.out
    if out.suffix != ".parquet":
        raise UserError(f"--out {out}: give it a name that ends in .parquet")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UserError(f"--out {out}: {out.parent} is no folder that can be written to; make it, or choose another")
    if out.is_dir():
        raise UserError(f"--out {out}: this is a folder; choose another name")
