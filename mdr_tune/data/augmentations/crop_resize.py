"""Cut a box out of each image and resize it with antialiasing. On a GPU, a batch is processed in a few operations."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from PIL import Image

from mdr_tune.data.images.decoding import Interpolation


def crop_resize(images: torch.Tensor, boxes: torch.Tensor, size: int, interpolation: Interpolation) -> torch.Tensor:
    """Cut a box out of each image, resize it as Pillow does, and mirror it if its row in `boxes` says so.

    On a CPU, torch's kernels for uint8 resize one image after the other, which is the fastest method there. They resize
    the width first, then the height. Their pixels equal Pillow's, except for occasional differences in rounding. (A few
    pixels differ by more where Pillow 13 resizes the height first, because values are clipped to 0..255 after each
    step.) On a GPU, `resample` is called, and its result is not rounded. torch has no Lanczos kernel for GPUs, and
    calls for single images would keep the CPU busy.

    Args:
        images: (n, C, H, W) uint8. Channels-last memory is the fastest.
        boxes: (n, 5), on the CPU: top, left, height and width in whole pixels, then 1 to mirror left to right, else 0.
        size: height and width of the results in pixels.
        interpolation: name of the resampling filter, "lanczos", "bicubic" or "bilinear".

    Returns:
        (n, C, size, size), contiguous: uint8 on a CPU, float32 in 0..255 elsewhere. Each image is computed on its own.
    """
    if images.device.type != "cpu":
        return resample(images, boxes.to(images.device, non_blocking=True), size, interpolation)
    results = images.new_empty((*images.shape[:2], size, size))
    for number, (top, left, height, width, mirrored) in enumerate(boxes.to(torch.int64).tolist()):
        box = images[number : number + 1, :, top : top + height, left : left + width]
        if interpolation == "lanczos" and torch.__version__ < "2.12":
            resized = _lanczos_by_pillow(box[0], size)
        else:
            resized = F.interpolate(box, (size, size), mode=interpolation, align_corners=False, antialias=True)[0]
        results[number] = resized.flip(-1) if mirrored else resized
    return results


def _lanczos_by_pillow(image: torch.Tensor, size: int) -> torch.Tensor:
    """Resize one image, (C, H, W) uint8, with Pillow as torch 2.12 does. Earlier torch has no Lanczos kernel."""
    channels = [Image.fromarray(channel.numpy()) for channel in image]
    steps = (size, image.shape[1]), (size, size)  # (width, height): the width first
    for step in steps:
        channels = [channel.resize(step, Image.Resampling.LANCZOS) for channel in channels]
    return torch.stack([torch.from_numpy(np.array(channel)) for channel in channels])


def resample(images: torch.Tensor, boxes: torch.Tensor, size: int, interpolation: Interpolation) -> torch.Tensor:
    """Crop, resize and mirror all images by two matrix products: (n, C, size, size) float32 in 0..255.

    The first product resizes the width, and the second one the height. After each, values are clipped to 0..255, but
    not rounded. The result for an image does not depend on the other images, up to the precision of float32.

    Args:
        images: (n, C, H, W), values in 0..255, on any device.
        boxes: (n, 5) on the device of `images`, with the columns that `crop_resize` explains.
        size: height and width of the results in pixels.
        interpolation: name of the resampling filter.
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
    """Return the weight of each input pixel in each output pixel along one axis (x or y), (n, size, pixels).

    The weights of an output pixel sum to 1. The kernel is centred on the output pixel. If a box is made smaller, the
    kernel is made wider by the same factor.

    Args:
        start: (n,) first pixel of each box along this axis.
        length: (n,) length of each box along this axis in pixels.
        mirrored: (n,) 1 for boxes that are mirrored along this axis, else 0.
        pixels: length of the images along this axis.
        size: length of the results along this axis in pixels.
        kernel: function that returns the weights at given distances from the middle of the output pixel.
        reach: distance beyond which the kernel is zero, in the unit that `_KERNELS` explains.
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
    """Return Keys' bicubic kernel at `x`, with a = -1/2. Pillow uses it, and so does torch with antialiasing."""
    x = x.abs()
    return torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)


def _bilinear(x: torch.Tensor) -> torch.Tensor:
    return 1 - x.abs()


# Kernels, each with the distance beyond which it is zero. Distances are in output pixels if a box is made smaller, and
# in input pixels if it is made larger.
_KERNELS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "lanczos": (_lanczos, 3.0),
    "bicubic": (_bicubic, 2.0),
    "bilinear": (_bilinear, 1.0),
}
