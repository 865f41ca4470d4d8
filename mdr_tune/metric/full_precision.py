"""Matrix products in full float32, whatever the process has chosen for its networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """Within it, a float32 matrix product is one: no TF32 on a GPU, no bfloat16 on a CPU, no autocast.

    All settings are those of the caller again afterwards, also after an exception. They are the whole process's: what
    another thread multiplies meanwhile is exact as well.

    Args:
        device_type: what autocast is switched off for, `cpu` or `cuda`.
    """
    gpu, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    saved = gpu.fp32_precision, cpu.fp32_precision
    gpu.fp32_precision = cpu.fp32_precision = "ieee"
    # Read second and set too: torch refuses to tell it while the two above contradict it, and refuses to multiply on a
    # GPU while it contradicts them.
    older_setting = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(older_setting)
        gpu.fp32_precision, cpu.fp32_precision = saved
