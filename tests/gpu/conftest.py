"""Where the tests of this folder compute."""

import pytest
import torch

from tests.gpu.device import test_device


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The first GPU, unless the tests' own code is tried on a CPU."""
    return test_device()
