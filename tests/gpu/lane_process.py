"""A lane's worker, without Ray, on a device: its trials succeed or fail as told. Run as a script.

    python lane_process.py DEVICE good ASSERT good ...    # prints what became of each, as JSON

good    a trial of one epoch
ASSERT  a trial whose loss fails an assertion in a kernel
MEMORY  a trial that needs more memory than there is, in the middle of its forward
"""

import gc
import json
import os
import sys
from typing import Any
from unittest import mock

import torch

try:
    import ray  # noqa: F401
except ImportError:  # on a machine where only the GPU is checked; the commands below do not use it
    sys.modules["ray"] = mock.MagicMock()

from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.messages import Command, Failure, Reply
from mdr_tune.lanes.worker import LaneWorker
from mdr_tune.training import Ranks, TrialSession

GOOD = TrialConfig.from_keys(
    {"batch": {"size": 32, "images_per_class": 4}, "embedding": {"size": 16}, "epochs": 1, "iterations_per_epoch": 3}
)
LARGE = TrialConfig.from_keys({**GOOD.model_dump(), "batch": {"size": 512, "images_per_class": 4}})
ROOM = 64 * 2**20
"""Bytes, beyond what is held: enough for GOOD, of which LARGE takes sixteen times as much."""


def fail_an_assertion(session: TrialSession) -> dict[str, float]:
    device = session.ranks.device
    if device.type == "cpu":
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")
    torch.zeros(1, device=device)[torch.tensor([7], device=device)]
    torch.cuda.synchronize(device)
    raise AssertionError("the device has not noticed")


def run_out_of_memory(session: TrialSession) -> dict[str, float]:
    device = session.ranks.device
    if device.type == "cpu":
        raise torch.OutOfMemoryError("CUDA out of memory")
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + ROOM) / total, device)
    try:
        return TrialSession.train_epoch(session)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


KINDS: dict[str, tuple[TrialConfig, Any]] = {
    "good": (GOOD, TrialSession.run_epoch),
    "ASSERT": (GOOD, fail_an_assertion),
    "MEMORY": (LARGE, run_out_of_memory),
}


def held(device: torch.device) -> int:
    """Return the bytes of tensors that the process holds on a GPU, else how many tensors it holds."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    gc.unfreeze()
    gc.collect()
    return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())


def main() -> None:
    device = torch.device(sys.argv[1])
    torch.set_num_threads(1)
    worker, seen = LaneWorker(Ranks(device=device), collective_timeout_s=60.0), []
    for number, kind in enumerate(sys.argv[2:]):
        config, run_epoch = KINDS[kind]
        TrialSession.run_epoch = run_epoch  # type: ignore[method-assign]
        reply = worker.handle(Command(2 * number, "start", {"trial": config.model_dump(), "checkpoint": None}))
        at_start = None
        if reply.failure is None:
            at_start = held(device)
            reply = worker.handle(Command(2 * number + 1, "epoch", {}))
        seen.append({"held": at_start, **outcome(reply)})
    print(json.dumps(seen), flush=True)
    os._exit(0)  # after a failed assertion an end in order would fail


def outcome(reply: Reply) -> dict[str, Any]:
    """Return the losses, or why there are none."""
    if isinstance(reply.failure, Failure):
        return {"failure": reply.failure.kind, "text": reply.failure.text}
    return {"metrics": {name: value for name, value in reply.value.items() if name.startswith(("train/", "val/"))}}


if __name__ == "__main__":
    main()
