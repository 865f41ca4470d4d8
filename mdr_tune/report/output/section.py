"""The part of a report about one sweep, from which the report is written in every format."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.plots.drawing import ReportFigure
from mdr_tune.report.rows import AblationTable

OVERVIEW = "overview"
"""File name, without extension, of the table of several sweeps."""
DIFFERENCES, TRIALS = "_differences", "_trials"
"""Suffixes of the file names of a sweep's table of differences and of its table of trials."""


@dataclass(frozen=True)
class Section:
    """The part of a report about one sweep: records read from MLflow, table, figures, and a summary in `sentences`.

    `slug` begins the names of the sweep's files. It is unique in the report, of letters, digits, `.`, `_` and `-`.
    """

    slug: str
    evidence: SweepEvidence
    table: AblationTable
    sentences: list[str]
    figures: list[ReportFigure] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.evidence.sweep.name


def slugs(names: Sequence[str]) -> list[str]:
    """Return a unique base name for the files of each sweep in `names`. A name that is taken gets a number."""
    found: list[str] = []
    taken = {OVERVIEW}
    for name in names:
        slug = plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "sweep"
        again = 2
        while taken & _files(slug):
            slug, again = f"{plain}-{again}", again + 1
        found.append(slug)
        taken |= _files(slug)
    return found


def _files(slug: str) -> set[str]:
    """Return the names of the table files of a sweep with this `slug`, in lower case: some file systems ignore case."""
    return {slug.lower() + ending for ending in ("", DIFFERENCES, TRIALS)}
