"""Chance inside of pytorch-metric-learning: from our generator, and without a trace in the global ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch
from pytorch_metric_learning.utils import common_functions


@contextmanager
def library_draws_from(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Let what runs inside draw as `generator` says, through torch's global generators and the library's numpy.

    One seed is drawn from `generator`; the global generators are seeded with it, and set back at the end.

    Args:
        generator: on the CPU, in the same state on all ranks, so that they draw alike.
        device: what the library computes on; its generator is seeded too, if it is a GPU.
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
