"""Matrix products and convolutions in full float32, whatever the process has chosen for its networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """Within it, float32 products and convolutions are that: no TF32 on a GPU, no bfloat16 on a CPU, no autocast.

    On a GPU torch convolves float32 tensors in TF32 unless it is told otherwise.

    All settings are those of the caller again afterwards, also after an exception. They are the whole process's: what
    another thread multiplies meanwhile is exact as well.

    Args:
        device_type: what autocast is switched off for, `cpu` or `cuda`.
    """
    cudnn: Any = torch.backends.cudnn
    cpu: Any = torch.backends.mkldnn
    # What torch calls RNN's is set with the convolutions': torch does not tell the older setting while they differ.
    newer: list[Any] = [torch.backends.cuda.matmul, cpu.matmul, cpu.conv, cudnn.conv, cudnn.rnn]
    saved = [operation.fp32_precision for operation in newer]
    for operation in newer:
        operation.fp32_precision = "ieee"
    # Read second and set too: torch refuses to tell it while the newer ones contradict it, and refuses to multiply on a
    # GPU while it contradicts them.
    older = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32 = False  # the older setting of convolutions, which sets the newer ones as well
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "ieee"
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(older)
        cudnn.allow_tf32 = saved[-2] == "tf32"
        for operation, precision in zip(newer, saved, strict=True):
            operation.fp32_precision = precision
