"""Compute matrix products and convolutions in full float32, whatever precision the process uses for its networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """Compute float32 products and convolutions of the `with` block in full float32.

    TF32 (torch's default for convolutions on a GPU), bfloat16 (on a CPU) and autocast on devices of the type
    `device_type` (`cpu` or `cuda`) are switched off. The caller's settings are restored afterwards, also after an
    exception. All settings except autocast belong to the whole process, so that other threads meanwhile compute in full
    float32, too.
    """
    cudnn: Any = torch.backends.cudnn
    cpu: Any = torch.backends.mkldnn
    # The setting for RNNs goes with that for convolutions: while the two differ, torch refuses to read the older
    # setting.
    newer: list[Any] = [torch.backends.cuda.matmul, cpu.matmul, cpu.conv, cudnn.conv, cudnn.rnn]
    saved = [operation.fp32_precision for operation in newer]
    for operation in newer:
        operation.fp32_precision = "ieee"
    # Torch refuses to read the older setting while the newer ones contradict it, so the newer ones are set first. The
    # older one is set too, since torch refuses to multiply on a GPU while it contradicts the newer ones.
    older = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32 = False  # the older setting for convolutions, which changes the newer ones as well
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "ieee"
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(older)
        cudnn.allow_tf32 = saved[-2] == "tf32"
        for operation, precision in zip(newer, saved, strict=True):
            operation.fp32_precision = precision
