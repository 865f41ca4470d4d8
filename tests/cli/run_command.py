"""Run a command of mdr-tune in this process."""

import pytest

from mdr_tune.cli.main import main


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
