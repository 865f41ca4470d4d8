"""Run a command of mdr-tune in this process."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from mdr_tune.cli.main import main
from tests.lane_session import no_placement_group_left
from tests.mlflow_globals import mlflow_globals_kept
from tests.report.few_figures import one_figure


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr; a traceback in them is a failure."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as ended:  # argparse
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.out, captured.err


def run_and_read(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Return exit code and what there is to read: stderr after a mistake, else stdout."""
    code, out, err = run_command(capsys, *arguments)
    return code, err if code else out


@contextlib.contextmanager
def on_shared_ray(folder: Path) -> Iterator[None]:
    """Let commands run in a folder with lanes of their own on the Ray of `hub`, and reports have one figure."""
    with (
        patch.dict(os.environ),
        mlflow_globals_kept(),
        one_figure(),
        no_placement_group_left(),
        contextlib.chdir(folder),
    ):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        yield
