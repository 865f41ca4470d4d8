"""Tries of many damaged inputs: each is taken, or is refused with the error that a user can act on."""

import io
import traceback
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random

import pytest

from mdr_tune.cli.launch import main
from mdr_tune.util.errors import UserError

some_seeds = pytest.mark.parametrize(
    "seeds", [range(300), pytest.param(range(300, 5300), marks=pytest.mark.slow)], ids=["few", "many"]
)
"""Decorator of a test: it gets the seeds of the normal suite, and those of the slow one."""


def check_each(seeds: Iterable[int], attempt: Callable[[Random], None]) -> None:
    """Fail with the seed and the end of the traceback of each attempt that raised anything but a UserError."""
    found = []
    for seed in seeds:
        try:
            attempt(Random(seed))
        except UserError as error:
            if not str(error).strip():
                found.append(f"seed {seed}: an error without a text")
        except Exception:
            found.append(f"seed {seed}: {''.join(traceback.format_exc().splitlines(keepends=True)[-20:])}")
    assert not found, "\n".join(found)


def dry_run(storage: Path, *arguments: str) -> None:
    """Plan a launch; UserError if it is refused, as anyone would see it.

    Raises:
        UserError: Exit code 2, with what it printed.
        AssertionError: It ended otherwise, or wrote something, or printed something else than errors.
    """
    errors = io.StringIO()
    before = sorted(storage.rglob("*"))
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        code = main([*arguments, "--storage", str(storage), "--dry-run"])
    text = errors.getvalue()
    assert code in (0, 2), text[-2000:]
    assert sorted(storage.rglob("*")) == before
    if code == 2:
        assert all(line.startswith("error: ") for line in text.splitlines()), text[-2000:]
        raise UserError(text)
