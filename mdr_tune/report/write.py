"""Write a report: tables, figures and pages of recorded sweeps in one folder. A failure leaves the folder as it was."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.output.data_files import difference_rows, trial_rows, value_rows, write_rows
from mdr_tune.report.output.latex import latex, overview_latex
from mdr_tune.report.output.markdown import markdown
from mdr_tune.report.output.section import DIFFERENCES, OVERVIEW, TRIALS, Section, slugs
from mdr_tune.report.overview import overview
from mdr_tune.report.page import page
from mdr_tune.report.plots.all_figures import draw
from mdr_tune.report.report_folder import (
    MANIFEST,
    check_folder,
    check_not_poorer,
    files_below,
    make_manifest,
    read_manifest,
    replacing,
    restore,
)
from mdr_tune.report.rows import AblationTable
from mdr_tune.report.sentences import summary_sentences


@dataclass(frozen=True)
class Report:
    """A report that was written into `folder`. The first of its `files` is the HTML page.

    `tables` has a table for each sweep, in the order in which the sweeps were given.
    """

    folder: Path
    files: list[Path]
    tables: list[AblationTable]


def build_report(
    evidences: Sequence[SweepEvidence],
    folder: Path,
    baseline: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
    found: Callable[[Sequence[AblationTable]], None] = lambda tables: None,
) -> Report:
    """Write the report of one or several sweeps into `folder`, in place of an older report.

    The report consists of `index.html`, `report.md`, `report.json`, `tables/` and `figures/`.

    Args:
        evidences: Records of each sweep, as read from MLflow.
        baseline: Name of a row to compare all other rows with, in place of their own baselines.
        progress: Function that is called with a few words at the start of each step.
        found: Function that is called with the tables of all sweeps, before figures are drawn.

    Raises:
        UserError: `folder` holds foreign files or a report with parts that the new one lacks, or no row is `baseline`.
        OSError: A file cannot be written.
    """
    restore(folder)
    check_folder(folder)
    check_not_poorer(evidences, read_manifest(folder), str(folder))
    tables = [ablation_table(evidence, baseline) for evidence in evidences]
    found(tables)
    with replacing(folder) as made:
        sections = _sections(evidences, tables, made, progress)
        progress("writing the pages")
        kind = "Ablation" if any(table.is_grid for table in tables) else "Report"
        title = f"{kind}: " + ", ".join(section.name for section in sections)
        compared = overview(tables)
        (made / "index.html").write_text(page(sections, title, compared), encoding="utf-8")
        (made / "report.md").write_text(markdown(sections, title, compared), encoding="utf-8")
        (made / "tables").mkdir()
        for section in sections:
            _write_tables(section, made / "tables")
        if compared is not None:
            (made / "tables" / f"{OVERVIEW}.tex").write_text(overview_latex(compared), encoding="utf-8")
        files = [
            "index.html",
            "report.md",
            *files_below(made / "tables", made),
            *files_below(made / "figures", made),
            MANIFEST,
        ]
        manifest = make_manifest(evidences, [section.name for section in sections], files)
        (made / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return Report(folder, [folder / file for file in files], tables)


def _sections(
    evidences: Sequence[SweepEvidence], tables: Sequence[AblationTable], folder: Path, progress: Callable[[str], None]
) -> list[Section]:
    sections = []
    named = slugs([evidence.sweep.name for evidence in evidences])
    for slug, evidence, table in zip(named, evidences, tables, strict=True):
        progress(f"drawing the figures of {evidence.sweep.name}")
        figures = draw(evidence, table, folder / "figures" / slug)
        sections.append(Section(slug, evidence, table, summary_sentences(evidence, table), figures))
    return sections


def _write_tables(section: Section, folder: Path) -> None:
    table, slug = section.table, section.slug
    if table.rows:
        (folder / f"{slug}.tex").write_text(latex(section), encoding="utf-8")
    write_rows(value_rows(table), folder, slug)
    write_rows(difference_rows(table), folder, f"{slug}{DIFFERENCES}")
    write_rows(trial_rows(section.evidence, table), folder, f"{slug}{TRIALS}")
