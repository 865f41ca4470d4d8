"""For how long of a round the device works: the rest of the time it waits for the CPU."""

import os
from collections.abc import Callable, Iterable

import torch
from torch._C._autograd import DeviceType


def busy_seconds(work: Callable[[], object], device: torch.device) -> float | None:
    """Return the seconds in which a GPU had anything to do during `work`; on a CPU, in which an operation ran.

    None where the profiler sees nothing, as in a container that does not let it.

    The profiler makes the CPU slower, and what the GPU does takes as long as without it. So the share of the time in
    which it idles is this beside the time of the same work without the profiler.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # which else says that it starts, stops, and finds no GPU
    on_gpu = device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profile:
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    found = profile.profiler.kineto_results.events()
    if on_gpu:
        counted = [
            event for event in found if event.device_type() == DeviceType.CUDA and not event.is_user_annotation()
        ]
    else:
        counted = [event for event in found if event.device_type() == DeviceType.CPU]
    return covered((event.start_ns(), event.end_ns()) for event in counted) / 1e9 if counted else None


def covered(intervals: Iterable[tuple[int, int]]) -> int:
    """Return how much intervals (start, end) cover together; what several cover counts once."""
    total, reached = 0, -1
    for start, end in sorted(intervals):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
