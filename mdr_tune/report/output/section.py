"""A sweep's part of a report: what all formats are made of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.plots.drawing import ReportFigure
from mdr_tune.report.rows import AblationTable

OVERVIEW = "overview"
"""Name of the table of several sweeps."""
DIFFERENCES, TRIALS = "_differences", "_trials"
"""Endings of a sweep's further tables."""


@dataclass(frozen=True)
class Section:
    """One sweep.

    Attributes:
        slug: Its name as a file's: of letters, digits, `.`, `_` and `-`, unique in the report.
        evidence: What MLflow has of it.
        table: Its rows.
        sentences: What it found, in words.
        figures: In the order in which they are shown.
    """

    slug: str
    evidence: SweepEvidence
    table: AblationTable
    sentences: list[str]
    figures: list[ReportFigure] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.evidence.sweep.name


def slugs(names: Sequence[str]) -> list[str]:
    """Return a file name for each sweep; where files of two would have the same name, they get numbers."""
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
    """Return the names of a sweep's tables, alike on systems that do not tell capitals."""
    return {slug.lower() + ending for ending in ("", DIFFERENCES, TRIALS)}
