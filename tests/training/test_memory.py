"""Peak memory, and the device's name."""

import subprocess
import sys

import pytest
import torch

from mdr_tune.training.memory import device_name
from tests.waiting import HANG_S

PROGRAM = """
from pathlib import Path
import torch
from mdr_tune.training.memory import PeakMemory
from mdr_tune.training.ranks import Ranks
MIB = 2**20
before = torch.ones(200 * MIB // 4)
del before
memory = PeakMemory(Ranks())
start = memory.peak_gib()
resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**30
block = torch.ones(150 * MIB // 4)
del block
print(start - resident, memory.peak_gib() - start, PeakMemory(Ranks()).peak_gib() - start)
"""


def test_the_peak_is_what_was_used_since_it_was_made() -> None:
    """In a process of its own: another test's memory, kept for later by the allocator, would be used again."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=HANG_S, check=True)
    at_start, grown, of_the_next = map(float, done.stdout.split())
    assert at_start == pytest.approx(0, abs=0.03)  # the 200 MiB from before are not in it
    assert grown == pytest.approx(150 / 1024, abs=0.02)
    assert of_the_next < 0.05  # the next trial starts without it


def test_a_cpu_is_named_so() -> None:
    assert device_name(torch.device("cpu")) == "cpu"
