"""Run all benchmarks, print one table, and write it into docs/benchmarks.md. `make bench` calls this.

    python benchmarks/run_all.py
    python benchmarks/run_all.py --only regularizer evaluation --no-write

Each benchmark is a script of its own beside this one, which says what it measures and against what. They run one after
another; nothing else should run on the machine meanwhile. 45 to 60 minutes on two cores. The exit code is 1 if
a benchmark failed, which it also does if its two sides computed different things.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch
from summary.machine import machine
from summary.process import BENCHMARKS, REPOSITORY
from summary.rows import Row, read_rows
from summary.tables import as_markdown, print_table, write_section

from mdr_tune.cli.terminal import make_console

PAGE = REPOSITORY / "docs" / "benchmarks.md"
SCRIPTS: dict[str, tuple[str, ...]] = {
    "regularizer": (),
    "glyph_training": (),
    "input_pipeline": (),
    "training_throughput": (
        *("--same-losses", "--precisions", "fp32", "--backbones", "features", "timm.vit_small_patch16_224"),
    ),
    "frozen_features": (),
    "evaluation": (),
    "folder_search": (),
    "trial_overhead": (),
    "sweep_scale": (),
}
"""Names of the scripts, and their arguments."""
WIDTH = 170


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run all benchmarks and write one table into docs/benchmarks.md.")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, metavar="NAME", help=f"of {', '.join(SCRIPTS)}")
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks.md as it is")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run, print and write; returns 1 if a benchmark failed."""
    arguments = make_parser().parse_args(argv)
    console = make_console()
    console.width = max(console.width, WIDTH)
    where = machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    rows, failed = [], []
    for name in arguments.only or SCRIPTS:
        console.rule(name)
        found = run_script(name)
        rows += found or []
        failed += [name] if found is None else []
    print_table(console, rows)
    for name in failed:
        console.print(f"{name} failed: see above", style="red")
    if not arguments.no_write and not arguments.only and not failed:
        write_section(PAGE, as_markdown(rows, where, date.today()))
        console.print(f"written into {PAGE}")
    return int(bool(failed))


def run_script(name: str) -> list[Row] | None:
    """Run one benchmark, which prints; returns its lines, None if it failed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *SCRIPTS[name], "--rows", str(file)]
        environment = {**os.environ, "COLUMNS": str(WIDTH), "TORCH_CPP_LOG_LEVEL": "ERROR"}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment)
        return read_rows(file) if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
