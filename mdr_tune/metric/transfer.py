"""Send tensors from the CPU to a GPU without waiting for the GPU."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU `tensor` on `device`. A copy to a GPU is made from pinned memory, so that the CPU does not wait."""
    if device.type == "cpu":
        return tensor
    if device.type == "meta":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)
