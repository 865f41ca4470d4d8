"""A folder of images of one's own, and commands in it as a user types them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.data.published.layouts import picture
from tests.waiting import HANG_S

LAUNCH = str(Path(__file__).parents[2] / "launch.py")
MDR_TUNE = ("-c", "import sys; from mdr_tune.cli.main import main; sys.exit(main())")


def write_pictures(folder: Path) -> None:
    """Write twelve classes of five images: of these, 6 classes are for training, 2 for validation."""
    for class_id in range(12):
        (folder / f"class_{class_id:02d}").mkdir(parents=True)
        for number in range(5):
            picture(5 * class_id + number).save(folder / f"class_{class_id:02d}" / f"{number}.jpg")


def run_python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a folder, without settings in the environment; decoded images go into its `cache`."""
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**kept, "MDR_TUNE_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
