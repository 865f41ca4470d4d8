"""`mdr-tune import-official`: turn a model trained with the authors' code into a checkpoint and a registered model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Console

from mdr_tune.cli.terminal import say
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.records.journal import Past
from mdr_tune.sweep.in_store import check_in_store
from mdr_tune.sweep.stores import Stores, check_stores, choose_stores, open_client, record_present_place
from mdr_tune.util.errors import UserError

if TYPE_CHECKING:
    from mdr_tune.training.official import ImportedModel

_DESCRIPTION = """\
Convert a state dict saved by the authors' code (github.com/kakaoenterprise/AAAI2021_MDR, run.py: best.pth, last.pth)
into a checkpoint of this program, DIR/model.pt. Backbone (BN-Inception, ResNet-18, ResNet-50) and embedding size are
read off the file. Nothing in the file is executed.
"""
_MODE = """\
the class that was trained, which the file does not tell: rescale (default) for Embedding (run.py without --l2norm, as
in their commands with MDR), whose test embeddings are raw; l2 for L2NormEmbedding (run.py --l2norm: their baselines),
whose embeddings have length 1
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `import-official` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser(
        "import-official", help="convert a model trained with the authors' code", description=_DESCRIPTION
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the state dict, such as best.pth")
    parser.add_argument("--mode", choices=("rescale", "l2"), help=_MODE)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for model.pt; made if need be")
    parser.add_argument(
        "--register",
        metavar="NAME",
        help="also register it in MLflow as NAME; it becomes the champion only if NAME has none",
    )
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow, for --register; default: MLFLOW_TRACKING_URI, or runs/mlflow.db",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Import the model file that `arguments` name, write a checkpoint, register it with --register, and return 0.

    How to load the model is printed on `console`. Flags and file are checked before anything is written.
    """
    stores = _stores(arguments)
    from mdr_tune.training.official import import_official, write_checkpoint

    imported = import_official(arguments.file, arguments.mode or "rescale")
    say(console, imported.describe())
    if arguments.mode is None:
        say(console, "Taken for their Embedding, raw at test time; for an L2NormEmbedding pass --mode l2.")
    file = write_checkpoint(imported, arguments.out)
    say(console, f"Written to {file}. Load it:")
    say(console, "  from pathlib import Path")
    say(console, "  from mdr_tune.tracking.champion import load_model")
    say(console, f"  model, image_shape = load_model(Path({str(file.absolute())!r}))")
    if stores is not None:
        _register(arguments.register, stores, imported, file, console)
    return 0


def _stores(arguments: argparse.Namespace) -> Stores | None:
    """Check and return the MLflow store in which `arguments` ask to register the model; None without --register."""
    if arguments.register is None:
        if arguments.tracking_uri is not None:
            raise UserError("--tracking-uri: says where to register, which needs a name: add --register NAME")
        return None
    try:
        SweepConfig(name=arguments.register)
    except ValidationError:
        raise UserError(
            f"--register {arguments.register}: a name has up to 64 letters, digits and _ . -, and begins with a "
            "letter or digit"
        ) from None
    stores = choose_stores(None, arguments.tracking_uri)
    check_stores(stores)
    check_in_store(stores, arguments.register, Past())
    return stores


def _register(name: str, stores: Stores, imported: "ImportedModel", file: Path, console: Console) -> None:
    """Register the model `imported` and its checkpoint `file` as `name` in `stores`, and print how to load it."""
    import mlflow

    from mdr_tune.tracking.champion import register_import
    from mdr_tune.tracking.experiment import open_experiment

    stores.storage.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(stores.tracking_uri)
    client = open_client(stores)
    record_present_place(stores, name)
    experiment_id = open_experiment(client, name, stores.artifact_root)
    registered = register_import(client, experiment_id, name, imported, file)
    if stores.artifact_root is not None:
        say(console, f"Its artifacts are below {stores.artifact_root}.")
    where = f" in {stores.other_registry}" if stores.other_registry else ""
    state = ", alias champion" if registered.is_champion else f"; the champion is still version {registered.champion}"
    say(console, f"Registered as {name} version {registered.version}{where}{state}. Load it without this package:")
    model = f"{name}@champion" if registered.is_champion else f"{name}/{registered.version}"
    for line in stores.load_command(model).splitlines():
        say(console, f"  {line}")
