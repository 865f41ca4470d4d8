"""`mdr-tune report NAME...`: write what sweeps found as a page, tables and figures. Everything is read from MLflow."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from mdr_tune.cli.ablation_table import print_ablation
from mdr_tune.cli.flags import add_store_arguments, open_store
from mdr_tune.cli.terminal import say
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from mdr_tune.records.recorded_sweep import SweepEvidence
    from mdr_tune.report.rows import AblationTable
    from mdr_tune.report.write import Report
    from mdr_tune.sweep.stores import Stores

_DESCRIPTION = """\
Write the report of one or several sweeps: a page that opens in any browser without a network (index.html), the same as
Markdown, the tables as LaTeX, CSV and Parquet, the figures as PNG and SVG. Values are means over training seeds with
95 % intervals, differences to the baselines are paired by seed. All of it comes from MLflow, also while a sweep runs.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `report` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser(
        "report", help="write what sweeps found: page, tables, figures", description=_DESCRIPTION
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="the sweeps' names; the newest launch of each")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder; default: report_NAME, or report for several sweeps"
    )
    parser.add_argument(
        "--baseline", metavar="CONFIG", help="compare every row with this configuration, such as mdr-003"
    )
    parser.add_argument("--launch", metavar="RUN_ID", help="the MLflow run of another launch than the newest")
    parser.add_argument("--no-log", action="store_true", help="do not keep the report in the launch's MLflow run")
    add_store_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Write the report that `arguments` ask for, print its tables and folder, log it to MLflow, and return 0."""
    _check(arguments)
    stores, client = open_store(arguments)
    from mdr_tune.report.report_folder import check_folder
    from mdr_tune.report.write import build_report
    from mdr_tune.tracking.deleted import describe_deleted
    from mdr_tune.tracking.evidence import read_evidence

    folder = arguments.out or default_folder(arguments.names)
    with _writing(folder):
        check_folder(folder)  # before the steps that take time
    with console.status("reading") as status:
        evidences = []
        for name in arguments.names:
            status.update(f"reading {escape(name)}")
            evidences.append(read_evidence(client, name, arguments.launch))

        def show(tables: "Sequence[AblationTable]") -> None:
            for evidence, table in zip(evidences, tables, strict=True):
                if gone := describe_deleted(client, evidence.sweep):
                    say(console, gone, style="yellow")
                _print(console, evidence, table)

        with _writing(folder):
            report = build_report(evidences, folder, arguments.baseline, lambda step: status.update(escape(step)), show)
    say(console, f"Report: {report.folder / 'index.html'} ({_others(report)})")
    if not arguments.no_log:
        is_plain = len(evidences) == 1 and arguments.baseline is None
        _keep(console, stores, client, evidences, report, is_plain)
    return 0


def default_folder(names: list[str]) -> Path:
    """Return the folder for the report of the sweeps in `names` if --out is not given."""
    from mdr_tune.report.output.section import slugs

    return Path("report" if len(names) > 1 else f"report_{slugs(names)[0]}")


def _check(arguments: argparse.Namespace) -> None:
    names = arguments.names
    if len(set(names)) < len(names):
        raise UserError(f"a sweep is named twice: {' '.join(names)}")
    for flag in ("baseline", "launch"):
        if len(names) > 1 and getattr(arguments, flag) is not None:
            raise UserError(f"--{flag} is of one sweep: name one, or leave it out")


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an OSError that is raised while `folder` is written in the block into a UserError that names --out."""
    try:
        yield
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror})") from None


def _print(console: Console, evidence: "SweepEvidence", table: "AblationTable") -> None:
    from mdr_tune.report.output.what_was_run import state
    from mdr_tune.report.sentences import summary_sentences

    unfinished = state(evidence)
    if unfinished:
        say(console, unfinished, style="yellow")
    print_ablation(console, table)
    say(console, " ".join(summary_sentences(evidence, table)))
    console.print()


def _others(report: "Report") -> str:
    """Return words for the files of `report` besides its page: `report.md, 7 files in tables, 20 files in figures`."""
    of = [file.relative_to(report.folder).parts[0] for file in report.files]
    return f"report.md, {count(of.count('tables'), 'file')} in tables, {count(of.count('figures'), 'file')} in figures"


def _keep(
    console: Console,
    stores: "Stores",
    client: "MlflowClient",
    evidences: "list[SweepEvidence]",
    report: "Report",
    is_plain: bool,
) -> None:
    """Log `report` to the MLflow runs of the launches in `evidences`, and print on `console` where it is in MLflow.

    Nothing is logged if a launch has not ended, or if its run has an older report in the same folder with trials or
    details that `report` lacks. UserError is raised if MLflow, at `stores` and `client`, does not take the report.

    `is_plain` says whether the report is of one sweep and without --baseline. Such a report replaces the report that
    the launch made at its end. Any other report gets a folder of its own in the run.
    """
    from mlflow.exceptions import MlflowException

    from mdr_tune.report.report_folder import why_poorer
    from mdr_tune.tracking.run_files import OTHER_REPORTS, REPORT, log_report

    running = [evidence.sweep.name for evidence in evidences if evidence.sweep.status == "RUNNING"]
    if running:
        text = f"Not kept in MLflow: {', '.join(running)} has not ended, and a launch logs its report at its end."
        say(console, text)
        return
    place = REPORT if is_plain else f"{OTHER_REPORTS}/{report.folder.resolve().name}"
    runs = [evidence.sweep.parent_run_id for evidence in evidences]
    try:
        for run_id in runs:
            before = _logged_manifest(client, run_id, place)
            if why := why_poorer(evidences, before, f"{place}/ of run {run_id}"):
                say(console, f"Not kept in MLflow: {why}.", style="yellow")
                return
        for run_id in runs:
            log_report(client, run_id, report.folder, place)
        if is_plain:
            _describe(stores, client, evidences[0], report.tables[0])
    except (MlflowException, OSError) as error:
        problem = f"the report is in {report.folder}, but MLflow did not take it ({first_line(error)})"
        raise UserError(f"{problem}; --no-log keeps it out of MLflow") from None
    say(console, f"In MLflow: {place}/ of run {', '.join(runs)}")


def _logged_manifest(client: "MlflowClient", run_id: str, place: str) -> dict[str, Any]:
    """Return the `report.json` that `client` finds in the artifact folder `place` of run `run_id`; empty if missing."""
    from mdr_tune.report.report_folder import MANIFEST, read_manifest

    file = f"{place}/{MANIFEST}"
    if file not in [entry.path for entry in client.list_artifacts(run_id, place)]:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        return read_manifest(Path(client.download_artifacts(run_id, file, folder)).parent)


def _describe(stores: "Stores", client: "MlflowClient", evidence: "SweepEvidence", table: "AblationTable") -> None:
    """Write the results in `table` into the description of the launch's MLflow run, as the launch does at its end.

    This is only done for a grid whose launch, recorded in `evidence`, has finished. The description has a command that
    loads the champion from `stores` if `client` finds that the champion is of this launch.
    """
    from mdr_tune.config.datasets import Dataset
    from mdr_tune.config.strict_model import members
    from mdr_tune.report.description import ablation_description
    from mdr_tune.report.sentences import summary_sentences
    from mdr_tune.tracking.run_files import set_description
    from mdr_tune.tracking.with_code import needs_code

    if not table.is_grid or evidence.sweep.status != "FINISHED":
        return
    champion, load_command = _champion(client, evidence), None
    if champion is not None:
        data = members(Dataset).get(evidence.sweep.records[0].config["data"]["name"])
        load_command = stores.load_command(f"{table.sweep}@champion", data, needs_code(champion))
    text = ablation_description(table, summary_sentences(evidence, table), load_command)
    set_description(client, evidence.sweep.parent_run_id, text)


def _champion(client: "MlflowClient", evidence: "SweepEvidence") -> "ModelVersion | None":
    """Return the sweep's champion, as `client` finds it, if it is a trial of the launch in `evidence`; else None."""
    from mlflow.exceptions import MlflowException

    from mdr_tune.tracking.champion import ALIAS

    try:
        version = client.get_model_version_by_alias(evidence.sweep.name, ALIAS)
    except MlflowException:  # no such model or alias
        return None
    return version if version.run_id in [trial.run_id for trial in evidence.sweep.trials] else None
