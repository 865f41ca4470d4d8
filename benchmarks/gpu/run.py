"""One part in a process of its own: what it does to a GPU, or a limit of its time, ends it alone."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal
from xml.etree import ElementTree

from summary.process import BENCHMARKS, REPOSITORY
from summary.rows import Row, read_rows

from gpu.parts import Part
from mdr_tune.util.words import count

Status = Literal["passed", "failed", "out of time", "skipped"]
END_S = 10.0
"""Seconds between asking a part to end and ending it."""


@dataclass(frozen=True)
class Result:
    """What became of a part.

    Attributes:
        part: Which.
        status: `skipped` parts need what is not there.
        detail: Counts of tests, or why there is no more.
        seconds: How long it took.
        skipped: Tests that were skipped, each with its reason.
        rows: What a benchmark measured.
        printed: What it printed.
    """

    part: Part
    status: Status
    detail: str
    seconds: float = 0.0
    skipped: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    printed: str = ""

    @property
    def line(self) -> str:
        """The result in a line."""
        return f"{self.status:11} {self.part.key:10} {self.part.what}: {self.detail} ({self.seconds:.0f} s)"


def run_part(part: Part, environment: dict[str, str], left_s: float, log: IO[str]) -> Result:
    """Run a part until its limit, or until no time is left for any; all that it prints goes to the log too."""
    if left_s < 1:
        return Result(part, "out of time", "not run: the time for all parts is over")
    limit_s = min(part.limit_s, left_s)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        file, output = Path(folder) / "found", Path(folder) / "output"
        start = time.monotonic()
        with output.open("wb") as opened:
            code = _run(_command(part, file), environment, limit_s, opened)
        seconds = time.monotonic() - start
        printed = output.read_text(errors="replace")
        log.write(f"===== {part.key}: {part.what}\n{printed}\n")
        log.flush()
        status: Status = "out of time" if code is None else "passed" if code == 0 else "failed"
        if part.kind == "benchmark":
            rows = read_rows(file) if file.exists() else []
            detail = f"ended after {limit_s:.0f} s" if code is None else count(len(rows), "figure")
            return Result(part, status, detail, seconds, rows=rows, printed=printed)
        counts, skipped = read_tests(file) if file.exists() else ({}, [])
        detail = ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "no test ended"
        if code == 0 and not counts.get("passed"):
            status = "skipped"
        return Result(part, status, detail, seconds, skipped, printed=printed)


def _command(part: Part, file: Path) -> list[str]:
    if part.kind == "benchmark":
        script, *arguments = part.arguments
        return [sys.executable, str(BENCHMARKS / script), *arguments, "--rows", str(file)]
    paths = [f"tests/gpu/{word}" if word.endswith(".py") else word for word in part.arguments]
    quiet = ["-q", "-p", "no:cacheprovider", f"--junitxml={file}"]
    return [sys.executable, "-m", "pytest", *quiet, *paths]


def _run(command: list[str], environment: dict[str, str], limit_s: float, output: IO[bytes]) -> int | None:
    """Run a command with all that it starts; returns its exit code, None if it was ended."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        for end in (signal.SIGTERM, signal.SIGKILL) if process.poll() is None else ():
            os.killpg(process.pid, end)
            try:
                process.wait(END_S)
                break
            except subprocess.TimeoutExpired:
                continue


def read_tests(file: Path) -> tuple[dict[str, int], list[str]]:
    """Return how many tests passed, failed and were skipped, from pytest's XML, and the skipped ones with reasons."""
    counts, skipped = {"passed": 0, "failed": 0, "skipped": 0}, []
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        skip = case.find("skipped")
        if skip is not None:
            counts["skipped"] += 1
            skipped.append(f"{case.get('name')}: {skip.get('message')}")
        else:
            failed = case.find("failure") is not None or case.find("error") is not None
            counts["failed" if failed else "passed"] += 1
    return counts, skipped
