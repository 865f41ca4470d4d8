"""A trial goes on elsewhere: its checkpoint holds no tensor of a GPU, and from it follow the same numbers."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.gpu.first_steps import new_session, worst_metric

CPU = torch.device("cpu")
CHANGES: list[dict[str, Any]] = [
    {},
    {"loss": "proxy_anchor"},
    {"miner": "distance_weighted"},
    {"optimizer": {"name": "adam", "learning_rate": 1e-3}},
]

pytestmark = pytest.mark.gpu


def in_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as README reads one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ():
        yield from tensors_in(part)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("first", ["on the GPU", "on the CPU"])
def test_a_trial_that_moves_after_each_epoch(device: torch.device, changes: dict[str, Any], first: str) -> None:
    undisturbed = new_session(CPU, **changes)
    places = [device, CPU, device] if first == "on the GPU" else [CPU, device, CPU]
    state = None
    for epoch, place in enumerate(places):
        session = new_session(place, **changes)
        if state is not None:
            session.load_state_dict(state)
        expected, found = undisturbed.train_epoch(), session.train_epoch()
        # Adam's first steps have one size however near to 0 a gradient is: rounding comes out larger.
        assert worst_metric(found, expected) < (1e-2 if "adam" in str(changes) else 1e-6), f"epoch {epoch + 1}"
        state = in_a_file(session.state_dict())
        assert {tensor.device.type for tensor in tensors_in(state)} == {"cpu"}
