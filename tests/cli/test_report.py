"""`mdr-tune report`: from a real MLflow store to a folder and back into the store, and the user's mistakes."""

import csv
import io
import json
import re
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from rich.console import Console

from mdr_tune.cli.ablation_table import print_ablation
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.description import ablation_description
from mdr_tune.report.sentences import summary_sentences
from mdr_tune.tracking.experiment import child_runs
from mdr_tune.tracking.tags import OUTCOME_TAG
from tests.cli.recorded_ablation import record_evidence
from tests.cli.run_command import run_and_read
from tests.mlflow_globals import mlflow_globals_kept
from tests.report.few_figures import one_figure
from tests.report.make_evidence import make_evidence


@pytest.fixture(scope="module")
def evidence() -> SweepEvidence:
    return make_evidence()


@pytest.fixture(scope="module")
def storage(evidence: SweepEvidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "runs"
    record_evidence(folder, evidence)
    return folder


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with mlflow_globals_kept(), one_figure():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(tmp_path)
        yield


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    return run_and_read(capsys, "report", *arguments)


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def test_the_values_are_those_of_the_metrics_in_mlflow(
    capsys: pytest.CaptureFixture[str], storage: Path, tmp_path: Path
) -> None:
    code, _ = run(capsys, "ablation_demo", "--storage", storage, "--no-log")
    assert code == 0
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ablation_demo").experiment_id
    parent = json.loads((tmp_path / "report_ablation_demo" / "report.json").read_text())["launches"]["ablation_demo"]
    values: dict[tuple[str, str], list[float]] = {}
    for child in child_runs(client, experiment, parent):
        if child.data.tags[OUTCOME_TAG] == "completed":
            for metric, value in child.data.metrics.items():
                values.setdefault((child.info.run_name.split(".")[0], metric), []).append(value)
    rows = rows_of(tmp_path / "report_ablation_demo" / "tables" / "ablation_demo.csv")
    assert len(rows) == 6 * 7
    for row in rows:
        own = values[row["configuration"], row["metric"]]
        assert int(row["n"]) == len(own)
        assert float(row["mean"]) == pytest.approx(statistics.fmean(own), abs=1e-9)


def test_the_report_goes_to_the_folder_and_to_mlflow(
    capsys: pytest.CaptureFixture[str], storage: Path, evidence: SweepEvidence, tmp_path: Path
) -> None:
    code, output = run(capsys, "ablation_demo", "--storage", storage, "--out", "of/demo")
    assert code == 0
    table = ablation_table(evidence)
    for row in table.rows:
        line = next(line for line in output.splitlines() if line.startswith(f"{row.name} "))
        assert f"{row.estimates[table.metric].mean:.2f} ±" in line
    assert "Report: of/demo/index.html (report.md, 7 files in tables, 2 files in figures)" in output
    run_id = output.split("report/ of run ")[1].split()[0]
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    assert "report/index.html" in {entry.path for entry in client.list_artifacts(run_id, "report")}
    page = (tmp_path / "of" / "demo" / "index.html").read_text()
    logged = Path(client.download_artifacts(run_id, "report/index.html", str(tmp_path)))
    assert logged.read_text() == page
    assert "grid: every combination" in page


def test_another_baseline(capsys: pytest.CaptureFixture[str], storage: Path, tmp_path: Path) -> None:
    arguments = ("ablation_demo", "--storage", storage, "--no-log", "--baseline", "triplet-002", "--out", "r")
    assert run(capsys, *arguments)[0] == 0
    rows = rows_of(tmp_path / "r" / "tables" / "ablation_demo_differences.csv")
    assert {row["baseline"] for row in rows} == {"triplet-002"}
    assert len(rows) == 5


def test_two_sweeps_one_of_which_runs(
    capsys: pytest.CaptureFixture[str], storage: Path, tmp_path: Path, evidence: SweepEvidence
) -> None:
    first = replace(evidence.sweep, name="running", trials=evidence.sweep.trials[:2])
    tracker = record_evidence(storage, replace(evidence, sweep=first), status="RUNNING")
    try:
        code, output = run(capsys, "running", "ablation_demo", "--storage", storage)
    finally:
        tracker.close("FINISHED")
    assert code == 0
    assert "This sweep still runs, or was killed: MLflow has no end of it. 2 of 2 trials" in output
    assert "Not kept in MLflow: running has not ended" in output
    assert "In MLflow" not in output
    assert kept(storage, tracker.parent_run_id, "reports") == kept(storage, tracker.parent_run_id, "report") == []
    page = (tmp_path / "report" / "index.html").read_text()
    assert 'id="running"' in page
    assert 'id="ablation_demo"' in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablation_dem"], "Did you mean 'ablation_demo'?"),
        (["ablation_demo", "--baseline", "mdr-009"], "mdr-009"),
        (["ablation_demo", "ablation_demo"], "a sweep is named twice"),
        (["ablation_demo", "b", "--baseline", "mdr-001"], "--baseline is of one sweep"),
        (["ablation_demo", "--launch", "0" * 32], "is not a launch of the sweep ablation_demo"),
        (["ablation_demo", "--out", "mine"], "mine holds notes.txt, not of a report"),
        (["ablation_demo", "--out", "mine/notes.txt"], "is a file"),
        (["ablation_demo", "--out", "mine/notes.txt/x/y"], "mine/notes.txt/x/y: mine/notes.txt is a file: name a"),
        (["ablation_demo", "--out", "/proc/x"], "--out /proc/x: cannot be written"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], storage: Path, arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    code, output = run(capsys, *arguments, "--storage", storage)
    assert code == 2
    assert message in output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits(width: int, evidence: SweepEvidence) -> None:
    table = replace(ablation_table(evidence), notes=[])
    console = Console(file=io.StringIO(), width=width)
    print_ablation(console, table)
    lines = console.file.getvalue().splitlines()[1:]  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    verdicts = [difference.verdict for row in table.rows for difference in row.differences]
    begun = [line for line in lines if line.startswith("mdr-")]
    assert [any(" ".join(verdict.split()[:2]) in line for line in begun) for verdict in verdicts] == [True] * 4
    print_ablation(console, replace(table, rows=[]))
    assert "No trial has a result yet." in console.file.getvalue()  # type: ignore[attr-defined]


def kept(storage: Path, run_id: str, folder: str) -> list[str]:
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    return [entry.path for entry in client.list_artifacts(run_id, folder)]


def description(storage: Path, run_id: str) -> str | None:
    tags: dict[str, str] = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}").get_run(run_id).data.tags
    return tags.get(MLFLOW_RUN_NOTE)


def test_only_the_plain_report_of_one_sweep_takes_the_place_of_the_launchs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, evidence: SweepEvidence
) -> None:
    storage = tmp_path / "runs"
    one = record_evidence(storage, evidence).parent_run_id
    two = record_evidence(storage, replace(evidence, sweep=replace(evidence.sweep, name="two"))).parent_run_id
    baseline = ("--baseline", "triplet-002", "--out", "of/beside")
    code, output = run(capsys, "ablation_demo", "--storage", storage, *baseline)
    assert code == 0
    assert f"In MLflow: reports/beside/ of run {one}" in output
    code, output = run(capsys, "ablation_demo", "two", "--storage", storage)
    assert code == 0
    assert f"In MLflow: reports/report/ of run {one}, {two}" in output
    for run_id, others in ((one, ["beside", "report"]), (two, ["report"])):
        assert kept(storage, run_id, "report") == []
        assert kept(storage, run_id, "reports") == [f"reports/{name}" for name in others]
        assert "reports/report/index.html" in kept(storage, run_id, "reports/report")
        assert description(storage, run_id) is None
    code, output = run(capsys, "two", "--storage", storage)
    assert code == 0
    assert f"In MLflow: report/ of run {two}" in output
    assert "report/index.html" in kept(storage, two, "report")


def test_the_plain_report_of_a_finished_grid_describes_its_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, evidence: SweepEvidence
) -> None:
    storage = tmp_path / "runs"
    parent = record_evidence(storage, evidence).parent_run_id
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    table = ablation_table(evidence)
    sentences = summary_sentences(evidence, table)
    assert run(capsys, "ablation_demo", "--storage", storage)[0] == 0
    assert description(storage, parent) == ablation_description(table, sentences, None)
    children = {child.info.run_name: child.info.run_id for child in child_runs(client, "1", parent)}
    client.create_registered_model("ablation_demo")
    for run_id, is_own in (("f" * 32, False), (children["mdr-002"], True)):
        version = client.create_model_version("ablation_demo", str(tmp_path), run_id)
        client.set_registered_model_alias("ablation_demo", "champion", version.version)
        assert run(capsys, "ablation_demo", "--storage", storage)[0] == 0
        text = description(storage, parent) or ""
        assert ('load_model("models:/ablation_demo@champion")' in text) == is_own


def test_a_grid_that_was_cut_off_keeps_its_description(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, evidence: SweepEvidence
) -> None:
    storage = tmp_path / "runs"
    parent = record_evidence(storage, evidence).parent_run_id
    MlflowClient(f"sqlite:///{storage / 'mlflow.db'}").set_terminated(parent, "KILLED")
    assert run(capsys, "ablation_demo", "--storage", storage)[0] == 0
    assert description(storage, parent) is None
    assert "report/index.html" in kept(storage, parent, "report")


def test_a_search_keeps_its_description(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, evidence: SweepEvidence
) -> None:
    storage = tmp_path / "runs"
    search = replace(evidence, facts=replace(evidence.facts, sampler="tpe"))
    parent = record_evidence(storage, search).parent_run_id
    assert run(capsys, "ablation_demo", "--storage", storage)[0] == 0
    assert description(storage, parent) is None
    assert "report/index.html" in kept(storage, parent, "report")


def without_its_time(page: Path) -> str:
    """Return the text of a report's page without the minute in which it was made."""
    text, found = re.subn(r"on \d{4}-\d\d-\d\d \d\d:\d\d from", "", page.read_text())
    assert found == 1
    return text


def test_a_moved_store_gives_the_same_report_and_lost_artifacts_replace_none(
    capsys: pytest.CaptureFixture[str], storage: Path, tmp_path: Path
) -> None:
    """The storage of the other tests stays: what is moved and spoilt is a copy, whose artifacts are its own."""
    shutil.copytree(storage, tmp_path / "runs")
    assert run(capsys, "ablation_demo", "--storage", storage, "--out", "r", "--no-log")[0] == 0
    page = without_its_time(tmp_path / "r" / "index.html")
    before = sorted(path for path in storage.rglob("*") if path.is_file())
    code, output = run(capsys, "ablation_demo", "--storage", "runs", "--out", "r")
    assert code == 0
    assert without_its_time(tmp_path / "r" / "index.html") == page
    assert sorted(path for path in storage.rglob("*") if path.is_file()) == before
    assert (tmp_path / "runs/mlartifacts/ablation_demo").is_dir()
    run_id = output.split("report/ of run ")[1].split()[0]
    logged = tmp_path / "runs/mlartifacts/ablation_demo" / run_id / "artifacts" / "report" / "index.html"
    assert without_its_time(logged) == page

    for lost in (tmp_path / "runs" / "mlartifacts").rglob("distances.json"):
        lost.unlink()
    code, output = run(capsys, "ablation_demo", "--storage", "runs", "--out", "r")
    assert code == 2
    assert "r holds a report of the same launch that has more: distances of" in output
    code, output = run(capsys, "ablation_demo", "--storage", "runs", "--out", "another")
    assert code == 0
    assert f"Not kept in MLflow: report/ of run {run_id} holds a report of the same launch that has more" in output
    assert "In MLflow" not in output
    assert without_its_time(tmp_path / "r" / "index.html") == page
    assert without_its_time(logged) == page


def test_a_report_says_which_trials_were_deleted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, evidence: SweepEvidence
) -> None:
    storage = tmp_path / "runs"
    parent = record_evidence(storage, evidence).parent_run_id
    assert run(capsys, "ablation_demo", "--storage", storage)[0] == 0
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    children = {child.info.run_name: child.info.run_id for child in child_runs(client, "1", parent)}
    client.delete_run(children.pop("mdr-002"))
    code, output = run(capsys, "ablation_demo", "--storage", storage, "--out", "new")
    assert code == 0
    assert "Left out, since deleted in MLflow: mdr-002. To restore: MLFLOW_TRACKING_URI" in output
    assert f"Not kept in MLflow: report/ of run {parent} holds a report of the same launch that has more" in output
    for page in ("report.md", "index.html"):
        assert "Left out, since deleted in MLflow: mdr-002." in (tmp_path / "new" / page).read_text().replace("\\", "")
    for run_id in children.values():
        client.delete_run(run_id)
    code, output = run(capsys, "ablation_demo", "--storage", storage, "--out", "none")
    assert code == 2
    assert "nothing to report. Left out, since deleted in MLflow: mdr-001" in output
