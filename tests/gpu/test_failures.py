"""What a GPU does to a trial costs that trial, not the ones after it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.waiting import HANG_S

SCRIPT = Path(__file__).with_name("lane_process.py")

pytestmark = pytest.mark.gpu


def run_trials(device: torch.device, *kinds: str) -> list[dict[str, Any]]:
    """Return what became of trials that one worker ran, one after another."""
    command = [sys.executable, str(SCRIPT), str(device), *kinds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def good(device: torch.device) -> dict[str, float]:
    """The metrics of a trial that nothing disturbs."""
    return run_trials(device, "good")[0]["metrics"]


def assert_equal(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-2)  # a GPU sums in another order from run to run


def test_a_failed_assertion_ends_the_worker_and_a_new_one_computes(
    device: torch.device, good: dict[str, float]
) -> None:
    before, failed = run_trials(device, "good", "ASSERT")
    assert_equal(before["metrics"], good)
    assert failed["failure"] == "device_lost"
    assert "device-side assert" in failed["text"]
    assert_equal(run_trials(device, "good")[0]["metrics"], good)


def test_after_one_that_ran_out_of_memory_a_trial_computes(device: torch.device, good: dict[str, float]) -> None:
    failed, after = run_trials(device, "MEMORY", "good")
    assert failed["failure"] == "failed"
    assert "OutOfMemoryError" in failed["text"]
    assert_equal(after["metrics"], good)


def test_trials_leave_nothing_behind(device: torch.device) -> None:
    first, second, *_, last = run_trials(device, "good", "good", "MEMORY", "good", "good", "good", "good")
    assert first["held"] > 0
    assert last["held"] == second["held"]
