"""A report as a folder: its files, whole or not at all, and nothing of anybody else's replaced."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report import write
from mdr_tune.report.output.section import slugs
from mdr_tune.report.plots.all_figures import FIGURES
from mdr_tune.report.write import MANIFEST, build_report, check_folder
from mdr_tune.util.errors import UserError
from tests.report.make_evidence import make_evidence


@pytest.fixture(scope="module")
def evidence() -> SweepEvidence:
    return make_evidence()


@pytest.fixture(scope="module")
def written(evidence: SweepEvidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report, with all figures: seconds."""
    folder = tmp_path_factory.mktemp("whole") / "report"
    build_report([evidence], folder)
    return folder


@pytest.fixture
def _two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw two of the figures only."""
    for name in [name for name in FIGURES if name not in ("recall_at_k", "differences")]:
        monkeypatch.delitem(FIGURES, name)


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_whole_report(written: Path) -> None:
    manifest = json.loads((written / MANIFEST).read_text())
    assert sorted(manifest["files"]) == files(written)
    assert manifest["launches"] == {"ablation_demo": "0123456789abcdef0123456789abcdef"}
    figures = {f"figures/ablation_demo/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    names = ("ablation_demo", "ablation_demo_differences", "ablation_demo_trials")
    tables = {f"tables/{name}.{kind}" for name in names for kind in ("csv", "parquet")}
    expected = figures | tables | {"tables/ablation_demo.tex", "index.html", "report.md", MANIFEST}
    assert set(files(written)) == expected
    assert sorted(path.name for path in written.parent.iterdir()) == ["report"]


def test_markdown_links_to_files_that_are_there(written: Path) -> None:
    links = [part.split(")")[0] for part in (written / "report.md").read_text().split("](")[1:]]
    assert len(links) == len(FIGURES)
    assert all((written / link).is_file() for link in links)


@pytest.mark.usefixtures("_two_figures")
def test_an_old_report_is_replaced(evidence: SweepEvidence, tmp_path: Path) -> None:
    steps: list[str] = []
    build_report([evidence], tmp_path / "report")
    other = make_evidence(sweep="other")
    found = lambda tables: steps.append(f"{len(tables)} tables")  # noqa: E731
    report = build_report([evidence, other], tmp_path / "report", progress=steps.append, found=found)
    assert steps[:3] == ["2 tables", "drawing the figures of ablation_demo", "drawing the figures of other"]
    assert [table.sweep for table in report.tables] == ["ablation_demo", "other"]
    assert sorted(map(str, report.files)) == sorted(str(tmp_path / "report" / name) for name in files(report.folder))
    build_report([other], tmp_path / "report")
    assert not any("ablation_demo" in name for name in files(tmp_path / "report"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.usefixtures("_two_figures")
def test_what_is_not_a_reports_is_kept(evidence: SweepEvidence, tmp_path: Path) -> None:
    notes = tmp_path / "report" / "tables" / "notes.txt"
    build_report([evidence], tmp_path / "report")
    notes.write_text("mine")
    with pytest.raises(UserError, match=r"holds tables/notes\.txt, not of a report: name another folder"):
        build_report([evidence], tmp_path / "report")
    assert notes.read_text() == "mine"
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="is a file: name a folder"):
        check_folder(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")
    check_folder(tmp_path / "nothing")


@pytest.mark.usefixtures("_two_figures")
def test_a_failure_leaves_the_old_report_and_nothing_else(
    evidence: SweepEvidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_report([evidence], tmp_path / "report")
    before = {name: (tmp_path / "report" / name).read_bytes() for name in files(tmp_path / "report")}

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write_rows", fail)
    for folder in ("report", "new"):
        with pytest.raises(OSError, match="No space left"):
            build_report([evidence], tmp_path / folder)
    assert {name: (tmp_path / "report" / name).read_bytes() for name in files(tmp_path / "report")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_an_unknown_baseline_is_said_and_nothing_is_written(evidence: SweepEvidence, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mdr-009"):
        build_report([evidence], tmp_path / "report", baseline="mdr-009")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_two_figures")
def test_a_report_without_an_ablation_is_not_called_one(evidence: SweepEvidence, tmp_path: Path) -> None:
    search = replace(evidence, facts=replace(evidence.facts, sampler="tpe"))
    for name, of, title in (("a", [evidence], "Ablation: ablation_demo"), ("s", [search], "Report: ablation_demo")):
        build_report(of, tmp_path / name)
        assert f"<title>{title}</title>" in (tmp_path / name / "index.html").read_text()
        assert (tmp_path / name / "report.md").read_text().startswith(f"# {title.replace('_', chr(92) + '_')}\n")


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match=r"file/x/y: .*/file is a file: name a folder"):
        check_folder(tmp_path / "file" / "x" / "y")


@pytest.mark.usefixtures("_two_figures")
def test_a_report_that_a_crash_hid_is_back_even_if_the_next_fails(evidence: SweepEvidence, tmp_path: Path) -> None:
    build_report([evidence], tmp_path / "report")
    (tmp_path / "report").rename(tmp_path / ".report.0123abcd.old")
    with pytest.raises(UserError, match="mdr-009"):
        build_report([evidence], tmp_path / "report", baseline="mdr-009")
    assert (tmp_path / "report" / MANIFEST).is_file()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mdr_levels", "b-2.x"], ["mdr_levels", "b-2.x"]),
        (["a/b", "a b", "A_B"], ["a_b", "a_b-2", "A_B-3"]),
        (["../../etc", "..", ""], ["etc", "sweep", "sweep-2"]),
        (["a", "a_trials", "overview"], ["a", "a_trials-2", "overview-2"]),
        (["a_differences", "a"], ["a_differences", "a-2"]),
    ],
)
def test_file_names_of_sweeps(names: list[str], expected: list[str]) -> None:
    assert slugs(names) == expected


@pytest.mark.usefixtures("_two_figures")
def test_a_poorer_report_does_not_take_the_place_of_a_better_one(evidence: SweepEvidence, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    build_report([evidence], folder)
    before = {file: (folder / file).read_bytes() for file in files(folder)}
    build_report([evidence], folder)  # the same again
    trials = evidence.sweep.trials
    name = next(trial.record.name for trial in trials if trial.record.name in evidence.details)
    without_details = replace(evidence, details={k: v for k, v in evidence.details.items() if k != name})
    without_a_trial = replace(evidence, sweep=replace(evidence.sweep, trials=trials[1:]))
    for poorer, what in ((without_details, f"test details of {name}"), (without_a_trial, trials[0].record.name)):
        with pytest.raises(UserError, match=f"{folder} holds a report of the same launch that has more: {what} cannot"):
            build_report([poorer], folder)
        assert files(folder) == sorted(before)
        build_report([poorer], tmp_path / "beside")
        shutil.rmtree(tmp_path / "beside")
    another = replace(without_details, sweep=replace(evidence.sweep, parent_run_id="f" * 32))
    build_report([another], folder)  # a newer launch has its own trials
