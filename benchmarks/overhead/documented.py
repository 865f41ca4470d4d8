"""A script with the documented pattern: starts Ray as launch.py does, runs one trial, notes when its first step began.

It has our journal and study, and nothing of MLflow.

    python -m overhead.documented STAMP_FILE FOLDER
"""

import json
import sys
from pathlib import Path

from mdr_tune.cluster.machine import this_machine
from mdr_tune.sweep.ray_session import ray_session
from overhead.recipe import FIRST_STEP, run_as_documented
from overhead.trials import make_plan


def main(stamp: Path, folder: Path) -> None:
    """Run the trial and write the stamp."""
    machine = this_machine()
    with ray_session(None, machine.cpus):
        side = run_as_documented(make_plan("documented", 1, folder, machine))
    stamp.write_text(json.dumps(side.records[0].history[0][FIRST_STEP]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
