"""What is written: check.md for people, check.json for programs."""

import dataclasses
import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

from summary.rows import Row
from summary.tables import as_markdown

from gpu.about import About
from gpu.run import Result
from mdr_tune.util.words import count


def write(folder: Path, about: About, results: list[Result], on_cpu: bool, day: date) -> None:
    """Write both files anew: after each part, so that what was found is there if the check is ended."""
    (folder / "check.md").write_text(markdown(about, results, on_cpu, day))
    found = {
        "date": day.isoformat(),
        "on_cpu": on_cpu,
        "about": asdict(about),
        "parts": [
            {
                "key": result.part.key,
                "what": result.part.what,
                "status": result.status,
                "detail": result.detail,
                "seconds": round(result.seconds, 1),
                "skipped": result.skipped,
            }
            for result in results
        ],
        "rows": [asdict(row) for result in results for row in result.rows],
    }
    (folder / "check.json").write_text(json.dumps(found, indent=2) + "\n")


def markdown(about: About, results: list[Result], on_cpu: bool, day: date) -> str:
    """Return the tables of parts and of figures, and what was skipped."""
    driver = f"driver {about.driver}" if about.driver else "driver not known"
    lines = ["# GPU check" + (", tried on a CPU" if on_cpu else ""), "", f"{about.machine}.", ""]
    lines.append(f"{count(about.gpus, 'GPU')}, {driver}.")
    lines += [*notes(about), ""]
    lines += ["| part | shows | result | | seconds |", "| --- | --- | --- | --- | --- |"]
    for result in results:
        cells = (result.part.key, result.part.what, result.status, result.detail, f"{result.seconds:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    rows = figures(results)
    lines += ["", as_markdown(rows, about.machine, day)] if rows else []
    skipped = [f"- {test}" for result in results for test in result.skipped]
    return "\n".join([*lines, *(["", "Skipped tests:", "", *skipped] if skipped else [])]) + "\n"


def figures(results: list[Result]) -> list[Row]:
    """Return what the benchmarks measured, without what they aim at: that is said of other machines."""
    return [dataclasses.replace(row, aim=None) for result in results for row in result.rows]


def notes(about: About) -> list[str]:
    """Return what a reader has to know of the machine, a sentence a line."""
    found = [f"{package} is not installed: what needs it is skipped." for package in about.without]
    if about.older_than is not None:
        found.append(f"This torch is older than {about.older_than}, which mdr_tune asks for.")
    return found
