"""The peaks that a trial reports are the allocator's, and evaluation takes no more than training."""

import pytest
import torch

from mdr_tune.training.evaluate import embed
from mdr_tune.training.memory import GIB
from tests.gpu.first_steps import new_session

pytestmark = pytest.mark.gpu


def peak_gib(device: torch.device, before: float = 0.0) -> float:
    """Return the most that was allocated on a GPU since the last call, in GiB; on a CPU what is given."""
    if device.type == "cpu":
        return before
    peak = torch.cuda.max_memory_allocated(device) / GIB
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def test_the_peak_is_measured(device: torch.device) -> None:
    small = new_session(device, torch.float32, batch={"size": 16, "images_per_class": 4}).run_epoch()
    large = new_session(device, torch.float32, batch={"size": 512, "images_per_class": 4}).run_epoch()
    assert small["memory/peak_gib"] > 0
    assert large["memory/peak_gib"] > small["memory/peak_gib"]
    assert large["memory/peak_gib"] == pytest.approx(peak_gib(device, large["memory/peak_gib"]))


@pytest.mark.parametrize("chunk_size", [None, 32])
def test_evaluation_has_room_where_training_had_some(device: torch.device, chunk_size: int | None) -> None:
    batch = {"size": 64, "images_per_class": 4, "chunk_size": chunk_size}
    session = new_session(device, torch.float32, batch=batch, batch_norm="frozen")
    peak_gib(device)
    session.train_epoch()
    training = peak_gib(device, 1.0)
    split = session.dataset.split("validation")
    embed(session.model, split.images, session.ranks, batch_size=chunk_size or 64)
    assert peak_gib(device, 1.0) <= training
