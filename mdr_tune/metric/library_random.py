"""Make pytorch-metric-learning draw from a given generator, and leave the global generators as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch
from pytorch_metric_learning.utils import common_functions


@contextmanager
def library_draws_from(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Make the random draws of pytorch-metric-learning in the `with` block depend on `generator` alone.

    One seed is drawn from `generator`, which is on the CPU. It seeds torch's global generators, of the CPU and of
    `device`, and the library's numpy generator. Their former states are restored at the end of the block. Ranks draw
    alike if their `generator` is in the same state.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    on_gpu = device.type == "cuda"
    numpy_random = common_functions.NUMPY_RANDOM
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # Not torch.manual_seed: it would also seed the other GPUs, which are not set back.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        common_functions.NUMPY_RANDOM = numpy.random.RandomState(seed)
        try:
            yield
        finally:
            common_functions.NUMPY_RANDOM = numpy_random
