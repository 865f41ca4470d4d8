"""Peak memory, of this very process."""

from pathlib import Path

import pytest
import torch

from mdr_tune.training.memory import PeakMemory, device_name
from mdr_tune.training.ranks import Ranks

MIB = 2**20


def test_the_peak_is_what_was_used_since_it_was_made() -> None:
    before = torch.ones(200 * MIB // 4)
    del before
    memory = PeakMemory(Ranks())
    start = memory.peak_gib()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**30
    assert start == pytest.approx(resident, abs=0.03)  # the 200 MiB from before are not in it
    block = torch.ones(150 * MIB // 4)
    del block
    assert memory.peak_gib() - start == pytest.approx(150 / 1024, abs=0.02)
    assert PeakMemory(Ranks()).peak_gib() - start < 0.05  # the next trial starts without it


def test_a_cpu_is_named_so() -> None:
    assert device_name(torch.device("cpu")) == "cpu"
