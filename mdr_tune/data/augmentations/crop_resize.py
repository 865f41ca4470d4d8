"""Cut a box out of each image and bring it to one size, antialiased; on a GPU, a batch in a few operations."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

Interpolation = Literal["lanczos", "bicubic", "bilinear"]


def crop_resize(images: torch.Tensor, boxes: torch.Tensor, size: int, interpolation: Interpolation) -> torch.Tensor:
    """Cut out, resize and mirror images, each by its own box, resampled as Pillow does it.

    On a CPU by torch's kernels for uint8, which are the fastest there, image by image. They give Pillow's pixels but
    for a rounding here and there, rows resampled before columns. (Pillow 13 begins with the columns where that is less
    work; in Lanczos' and bicubic resampling, which cut off overshoot in between, a few pixels then differ by more.)
    A GPU has no Lanczos kernel, and calls for single images would keep the CPU busy: there it is `resample`, whose
    result is not rounded.

    Args:
        images: (n, C, H, W) uint8. Fastest if the channels lie side by side in memory.
        boxes: (n, 5), on the CPU: top, left, height and width in whole pixels; 1 for mirrored, else 0.
        size: height and width of the result in pixels.
        interpolation: how pixels are resampled.

    Returns:
        (n, C, size, size), contiguous: uint8 on a CPU, float32 in 0..255 elsewhere. Each image is computed on its own.
    """
    if images.device.type != "cpu":
        return resample(images, boxes.to(images.device, non_blocking=True), size, interpolation)
    results = images.new_empty((*images.shape[:2], size, size))
    for number, (top, left, height, width, mirrored) in enumerate(boxes.to(torch.int64).tolist()):
        box = images[number : number + 1, :, top : top + height, left : left + width]
        resized = F.interpolate(box, (size, size), mode=interpolation, align_corners=False, antialias=True)[0]
        results[number] = resized.flip(-1) if mirrored else resized
    return results


def resample(images: torch.Tensor, boxes: torch.Tensor, size: int, interpolation: Interpolation) -> torch.Tensor:
    """Do what `crop_resize` does by two products with matrices of weights, one from either side of the images.

    Rows first, and overshoot is cut off after either product; nothing is rounded, so that the result is
    the same for any slice of a batch up to float32's precision.

    Args:
        images: (n, C, H, W), values in 0..255, on any device.
        boxes: (n, 5) on the same device, as in `crop_resize`.
        size: as there.
        interpolation: as there.

    Returns:
        (n, C, size, size) float32 in 0..255.
    """
    top, left, height, width, mirrored = boxes.float().unbind(1)  # (n,) each
    kernel, reach = _KERNELS[interpolation]
    count, channels, rows, columns = images.shape
    across = _weights(left, width, mirrored, columns, size, kernel, reach)  # (n, size, W)
    down = _weights(top, height, torch.zeros_like(mirrored), rows, size, kernel, reach)  # (n, size, H)
    flat = images.float().reshape(count, channels * rows, columns)
    narrowed = torch.bmm(flat, across.mT).clamp_(0, 255).view(count, channels, rows, size)
    return torch.matmul(down[:, None], narrowed).clamp_(0, 255)


def _weights(
    start: torch.Tensor,
    length: torch.Tensor,
    mirrored: torch.Tensor,
    pixels: int,
    size: int,
    kernel: Callable[[torch.Tensor], torch.Tensor],
    reach: float,
) -> torch.Tensor:
    """Return how much of each input pixel each output pixel is made of along one side, (n, size, pixels), sum 1.

    The kernel stands over the middle of the output pixel; where the box is made smaller, it is as much wider.
    """
    start, length, mirrored = (column[:, None, None] for column in (start, length, mirrored))  # (n, 1, 1)
    output = torch.arange(size, device=start.device)[:, None]  # (size, 1)
    output = torch.where(mirrored > 0, size - 1 - output, output)  # (n, size, 1)
    position = torch.arange(pixels, device=start.device) + 0.5 - start  # (n, 1, pixels) from the start of the box
    step = length / size
    distance = (position - (output + 0.5) * step) / step.clamp(min=1)  # (n, size, pixels)
    within = (position > 0) & (position < length) & (distance.abs() < reach)
    weights = torch.where(within, kernel(distance), 0.0)
    return weights / weights.sum(-1, keepdim=True)


def _lanczos(x: torch.Tensor) -> torch.Tensor:
    return torch.sinc(x) * torch.sinc(x / 3)


def _bicubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' kernel with a = -1/2, as Pillow's and torch's where they antialias."""
    x = x.abs()
    return torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)


def _bilinear(x: torch.Tensor) -> torch.Tensor:
    return 1 - x.abs()


# Each with the distance beyond which it is zero, in output pixels, or input pixels where the box is made larger.
_KERNELS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "lanczos": (_lanczos, 3.0),
    "bicubic": (_bicubic, 2.0),
    "bilinear": (_bilinear, 1.0),
}
