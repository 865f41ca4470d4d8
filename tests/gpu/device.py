"""What the tests marked `gpu` compute on. MDR_TUNE_TEST_DEVICE=cpu tries their own code where there is no GPU."""

import os

import torch

VARIABLE = "MDR_TUNE_TEST_DEVICE"


def test_device() -> torch.device:
    """Return the device; also for scripts that a test starts."""
    return torch.device(os.environ.get(VARIABLE, "cuda:0"))


test_device.__test__ = False  # type: ignore[attr-defined]  # its name is no test's
