"""`mdr-tune evaluate MODEL...`: measure models of any kind on a data set, with intervals and paired differences."""

import argparse
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdr_tune.cli.flags import add_store_arguments, at_least_1
from mdr_tune.cli.progress_bars import progress_bars
from mdr_tune.cli.spaces import shipped_or_own
from mdr_tune.cli.terminal import say
from mdr_tune.config.chosen_metrics import NO_OTHERS, MetricsConfig
from mdr_tune.config.datasets import Dataset, read_data
from mdr_tune.config.overrides import read_override
from mdr_tune.config.strict_model import set_dotted
from mdr_tune.config.sweep import NAME
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.records.journal import Past
from mdr_tune.sweep.in_store import check_in_store
from mdr_tune.sweep.prepare import naming
from mdr_tune.sweep.stores import Stores, check_stores, choose_stores, open_client, record_present_place
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import look_for_code_in
from mdr_tune.util.words import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mdr_tune.records.evaluation import Evaluation
    from mdr_tune.report.rows import AblationTable, Estimate

_DESCRIPTION = """\
Measure models on one split of a data set: Recall@K, MAP@R and R-precision with 95 % intervals by the bootstrap over
queries and over classes, and each model's difference to the first, paired by query. The table is Markdown. An MLflow
run keeps numbers, details of each query and a report page. Reading the test split is recorded there, and on the models.
"""
_MODEL = """\
models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model, a run's id, SWEEP/TRIAL (any trial with a checkpoint),
model.pt of import-official, a backbone such as resnet50 or resnet50@WEIGHTS (a name or a file), my_models:make, or a
Parquet file of vectors with their images' paths
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `evaluate` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser(
        "evaluate", help="measure models on a data set, and compare them", description=_DESCRIPTION
    )
    parser.add_argument("models", metavar="MODEL", nargs="+", help=_MODEL)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--space", type=shipped_or_own, metavar="FILE", help="the data set of this sweep file")
    what.add_argument("--data", metavar="NAME", help="a data set, such as cub200, folder or my_data:Parts")
    parser.add_argument("--root", metavar="DIR", help="with --data: the folder of its images, key data.root")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key such as data.image_size; may be repeated"
    )
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="default: test")
    parser.add_argument("--name", metavar="NAME", help="the MLflow experiment; default: named after the data")
    parser.add_argument(
        "--mode",
        choices=("none", "l2"),
        default="none",
        help="embeddings of backbones, own models and files of vectors: as they are (none), or of length 1 (l2)",
    )
    parser.add_argument("--batch-size", type=at_least_1, default=256, metavar="N", help="images at a time (256)")
    parser.add_argument("--code", metavar="DIR", help="the folder of your own modules")
    add_store_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Evaluate the models that `arguments` name, print the table, log it to MLflow, and return 0.

    A UserError is raised before anything is logged if a model or the data set is not there, or does not fit.
    """
    data, metrics = _data(arguments)
    name = _experiment(arguments.name, data)
    stores = choose_stores(arguments.storage, arguments.tracking_uri)
    check_stores(stores)
    check_in_store(stores, name, Past())
    _check_there(arguments, data)
    import torch

    from mdr_tune.evaluate.measure import evaluate_models, feed_models
    from mdr_tune.evaluate.models import Finder

    client = open_client(stores)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(prefix="mdr_tune_evaluate_") as folder:
        finder = Finder(client, Path(folder), device, arguments.code, arguments.mode)
        with console.status("looking for the models"):
            found = [finder.find(text) for text in arguments.models]
            fed = feed_models(found, data)
        with progress_bars(console) as progress:
            evaluation = evaluate_models(fed, data, arguments.split, device, metrics, arguments.batch_size, progress)
    from mdr_tune.report.evaluation_report import evaluation_sentences, evaluation_table

    table = evaluation_table(evaluation)
    print_evaluation(console, table)
    for sentence in evaluation_sentences(table):
        say(console, sentence)
    _keep(console, stores, client, name, evaluation, table)
    return 0


def _data(arguments: argparse.Namespace) -> tuple[Dataset, MetricsConfig]:
    """Return the data set that `arguments` name by --space or --data, and the metrics on request of the sweep file."""
    if arguments.code is not None:
        if not Path(arguments.code).is_dir():
            raise UserError(f"--code {arguments.code}: there is no such folder")
        look_for_code_in([Path(arguments.code)])
    if arguments.space is not None:
        if arguments.root is not None:
            raise UserError(f"--root goes with --data; with --space write --set data.root={arguments.root}")
        keys = [text if text.startswith("trial.") else f"trial.{text}" for text in _data_keys(arguments.set)]
        keys += [] if arguments.code is None else [f"code={arguments.code}"]
        sweep, _ = read_sweep(arguments.space, keys)
        return sweep.trial.data, sweep.trial.metrics
    if arguments.code is None:
        look_for_code_in([Path.cwd()])
    tree: dict[str, Any] = {} if arguments.root is None else {"root": arguments.root}
    for text in _data_keys(arguments.set):
        key, value = read_override(text, "data.image_size=224")
        set_dotted(tree, key.removeprefix("trial.").removeprefix("data."), value)
    try:
        return read_data(arguments.data, **tree), NO_OTHERS
    except UserError as error:
        lines = str(error).splitlines()
        raise UserError("\n".join(f"--data {arguments.data}: {line}" for line in lines)) from None


def _data_keys(given: list[str]) -> list[str]:
    for text in given:
        key = text.partition("=")[0].strip()
        if not key.removeprefix("trial.").startswith("data."):
            raise UserError(f"--set {text}: only keys of the data set are read here, such as data.image_size=224")
    return given


def _experiment(name: str | None, data: Dataset) -> str:
    """Return the name of the experiment: `name`, or one made of the name of the data set, its folder or its file."""
    if name is None:
        path = getattr(data, "file", None) or (None if data.is_published else getattr(data, "root", None))
        made = data.name if path is None else Path(path).stem
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", made).lstrip("_.-")[:64] or data.name
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"--name {name}: a name has up to 64 letters, digits and _ . -, and begins with a letter or digit"
        )
    return name


def _check_there(arguments: argparse.Namespace, data: Dataset) -> None:
    """Raise UserError if the folder or the file of `data` is missing."""
    from mdr_tune.sweep.prepare import missing

    if problems := missing(data):
        if arguments.space is None:
            raise UserError("\n".join(f"--data {data.name}: {problem}" for problem in problems))
        with naming(arguments.space, [f"trial.{text.removeprefix('trial.')}" for text in arguments.set]):
            raise UserError("\n".join(problems))


def print_evaluation(console: Console, table: "AblationTable") -> None:
    """Print `table`, that of an evaluation, in Markdown: a line for each model and metric."""
    from mdr_tune.records.metrics import metric_label
    from mdr_tune.report.output.texts import NONE, ends, interval, number, signed

    say(console, f"{table.data}. Percent; in brackets 95 % intervals by the bootstrap.")
    say(console, "")
    drawn = Table(box=box.MARKDOWN, header_style="bold")
    drawn.add_column("model", overflow="fold")
    drawn.add_column("metric", no_wrap=True)
    several = len(table.rows) > 1
    titles = ["value", "over queries", "over classes"]
    for title in titles + (["less the first", "over queries", "over classes"] if several else []):
        drawn.add_column(title, justify="right", no_wrap=True)
    for row in table.rows:
        differences = {difference.metric: difference.estimate for difference in row.differences}
        for metric in (metric for metric in table.metrics if metric in row.estimates):
            found = row.estimates[metric]
            cells = [row.method, metric_label(metric), number(found.mean), ends(found), ends(found.over_classes)]
            if several:
                less: Estimate | None = differences.get(metric)
                cells += [
                    "" if less is None else signed(less.mean),
                    interval(less) if less is not None else "",
                    interval(less.over_classes) if less is not None else "",
                ]
            drawn.add_row(*(Text(cell or NONE) for cell in cells[:5]), *map(Text, cells[5:]))
    console.print(drawn)
    for note in table.notes:
        say(console, f"note: {note}", style="yellow")


def _keep(
    console: Console,
    stores: Stores,
    client: "MlflowClient",
    name: str,
    evaluation: "Evaluation",
    table: "AblationTable",
) -> None:
    """Log `evaluation` and its report to the MLflow experiment `name`, and print where they are."""
    from mlflow.exceptions import MlflowException

    from mdr_tune.report.evaluation_report import evaluation_description, write_evaluation_report
    from mdr_tune.tracking.evaluation_run import log_evaluation
    from mdr_tune.tracking.experiment import open_experiment

    command = shlex.join(["mdr-tune", *sys.argv[1:]])
    stores.storage.mkdir(parents=True, exist_ok=True)

    def write_report(run_id: str, folder: Path) -> None:
        write_evaluation_report(evaluation, table, name, run_id, command, folder)

    try:
        record_present_place(stores, name)
        experiment = open_experiment(client, name, stores.artifact_root)
        run_name = f"evaluation {evaluation.started:%Y-%m-%d %H:%M:%S}"
        text = evaluation_description(table)
        with console.status("writing the report"):
            run_id = log_evaluation(client, experiment, evaluation, run_name, command, text, write_report)
        where = client.get_run(run_id).info.artifact_uri
    except (MlflowException, OSError) as error:
        raise UserError(f"the evaluation is above, but MLflow did not take it ({first_line(error)})") from None
    if evaluation.split == "test":
        say(
            console,
            "The test split was read: this is recorded in the run, on its data set, and on the models in MLflow.",
        )
    say(console, f"In MLflow: experiment {name}, run {run_id}")
    say(console, f"Report: {where.removeprefix('file://')}/report/index.html")
