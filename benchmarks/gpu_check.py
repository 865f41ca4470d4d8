"""Show what a machine's GPU does with mdr_tune, by tests and benchmarks. scripts/gpu_check.sh calls this.

    python benchmarks/gpu_check.py
    python benchmarks/gpu_check.py --cpu --only steps loss

The parts run in order of worth, each in a process of its own that is ended at its limit; within ten minutes on one GPU,
five more where there are several. What is left when the time is over is not run, and that counts as a failure. Prints a
line for each part. Writes check.md and check.json, with the machine's name, and check.log with all that was printed.

Needs no Ray and no MLflow; tests that do are skipped, and said to be. The exit code is 0 if all that ran passed, 1 if
not, and 2 if there is no GPU or a package is missing.
"""

import argparse
import os
import sys
import time
from datetime import date
from pathlib import Path

try:
    from rich.console import Console
except ModuleNotFoundError:  # the first of what about.NEEDED names that would be missed
    print("not installed: rich (docs/gpu.md says what is needed)", file=sys.stderr)
    sys.exit(2)

from gpu import about, report
from gpu.parts import Part, parts_for
from gpu.run import Result, run_part
from summary.process import REPOSITORY
from summary.tables import print_table as print_rows

MINUTES, MORE_MINUTES = 10.0, 5.0
"""For what one GPU can show, and besides where there are several."""
LINES_OF_A_FAILURE = 40
WIDTH = 170


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Show what a machine's GPU does with mdr_tune.")
    parser.add_argument("--cpu", action="store_true", help="try the check itself on the CPU, with small sizes")
    keys = [part.key for part in parts_for(on_cpu=False)]
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="PART", help=f"of {', '.join(keys)}")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "gpu_check", metavar="DIR", help="default: gpu_check")
    parser.add_argument("--minutes", type=float, metavar="N", help="for all (default: 10; 15 with several GPUs)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run, print and write; returns the exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"--out {arguments.out}: no such folder can be made ({error.strerror}): name another", file=sys.stderr)
        return 2
    environment = environment_for(arguments.cpu)
    machine = about.ask(environment)
    if machine.missing:
        print(f"not installed: {', '.join(machine.missing)} (docs/gpu.md has the pip command)", file=sys.stderr)
        return 2
    if not machine.gpus and not arguments.cpu:
        print("no GPU: torch sees none here. --cpu tries the check itself, without one", file=sys.stderr)
        return 2
    driver = f", driver {machine.driver}" if machine.driver else ""
    print("\n".join([f"{machine.machine}{driver}", *report.notes(machine)]), flush=True)
    minutes = arguments.minutes or MINUTES * (3 if arguments.cpu else 1) + MORE_MINUTES * (machine.gpus > 1)
    end = time.monotonic() + 60 * minutes
    results: list[Result] = []
    with (arguments.out / "check.log").open("w", errors="replace") as log:
        for part in parts_for(arguments.cpu):
            if part.key not in arguments.only:
                continue
            left_s = end - time.monotonic()
            why_not = None if arguments.cpu else lacking(part, machine)
            if why_not is None:
                print(f"{part.key}: {part.what}; {min(part.limit_s, max(left_s, 0)):.0f} s at most ...", flush=True)
                results.append(run_part(part, environment, left_s, log))
            else:
                results.append(Result(part, "skipped", why_not))
            tell(results[-1])
            report.write(arguments.out, machine, results, arguments.cpu, date.today())
    if figures := report.figures(results):
        print_rows(Console(width=WIDTH), figures, "Figures")
    print(f"written: {arguments.out}/check.md, check.json, check.log", flush=True)
    return int(any(result.status in ("failed", "out of time") for result in results))


def environment_for(on_cpu: bool) -> dict[str, str]:
    """Return the variables of a part's process."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    variables = {key: value for key, value in os.environ.items() if key != "MDR_TUNE_TEST_DEVICE"}
    variables |= {"PYTHONPATH": path, "COLUMNS": str(WIDTH), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return {**variables, "MDR_TUNE_TEST_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""} if on_cpu else variables


def lacking(part: Part, machine: about.About) -> str | None:
    """Return why a part cannot be run here, or None."""
    if machine.gpus < part.gpus:
        return f"needs {part.gpus} GPUs, this machine has {machine.gpus}"
    return f"needs {part.needs}, which is not installed" if part.needs in machine.without else None


def tell(result: Result) -> None:
    """Print a part's line, and before it the end of what it printed, if it failed."""
    if result.status in ("failed", "out of time"):
        print("\n".join(result.printed.splitlines()[-LINES_OF_A_FAILURE:]))
    print(result.line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
