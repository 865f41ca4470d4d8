"""Small random rotations, scalings and shifts of training images, which do not depend on the number of ranks."""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from mdr_tune.data.seeding import derive_seed

MAX_ROTATION_RAD = math.radians(10)
SCALE_RANGE = (0.9, 1.1)
MAX_SHIFT_PX = 2.0


def draw_affine_params(batch_size: int, seed: int, epoch: int, step: int) -> torch.Tensor:
    """Draw a random rotation, scale and shift for each image of a *global* batch: (batch_size, 4) float32.

    The columns are the rotation (+-10 degrees, in radians), the scale (0.9 .. 1.1), and the shifts to the right and
    down (+-2 pixels), all uniform. One generator, seeded with `derive_seed("augment", seed, epoch, step)`, draws row
    after row. So row i is a function of (seed, epoch, step, i), and each rank uses its slice of the rows. `seed` is the
    trial's. `epoch` and `step` (the batch within the epoch) are counted from 0.
    """
    generator = np.random.default_rng(derive_seed("augment", seed, epoch, step))
    low = (-MAX_ROTATION_RAD, SCALE_RANGE[0], -MAX_SHIFT_PX, -MAX_SHIFT_PX)
    high = (MAX_ROTATION_RAD, SCALE_RANGE[1], MAX_SHIFT_PX, MAX_SHIFT_PX)
    return torch.from_numpy(generator.uniform(low, high, (batch_size, 4)).astype(np.float32))


def augment_affine(images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    """Rotate and scale each of `images` about its centre, then shift it. Return (n, C, H, W) float32.

    Pixels are interpolated bilinearly. Outside of an image, the pixels of its border are repeated. The result for an
    image does not depend on the other images of the batch. Wrong shapes are a ValueError.

    Args:
        images: (n, C, H, W) uint8 or float, in any range (0..255 in this project). The result keeps range and device.
        params: (n, 4) on any device, the rows that `draw_affine_params` drew for these images.
    """
    if images.ndim != 4 or params.shape != (len(images), 4):
        raise ValueError(
            f"expected images (n, C, H, W) and params (n, 4), got {tuple(images.shape)} and {tuple(params.shape)}"
        )
    grid = _sampling_grid(params.to(images.device), images.shape[-2], images.shape[-1])
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def _sampling_grid(params: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the grid for `F.grid_sample`: the point (x, y) of the input image that each output pixel shows.

    The grid is (n, height, width, 2); -1 and 1 are an image's edges. It inverts "rotate and scale, then shift" by
    `params`, (n, 4): source = rotate(-angle) (output - shift) / scale. The formula is written out because the matrix
    product in `F.affine_grid` rounds differently for other batch sizes.
    """
    angle, scale, shift_x, shift_y = (column[:, None, None] for column in params.unbind(1))  # (n, 1, 1)
    x = torch.arange(width, device=params.device) + 0.5 - width / 2  # (W,) pixels from the centre
    y = torch.arange(height, device=params.device)[:, None] + 0.5 - height / 2  # (H, 1)
    x, y = x - shift_x, y - shift_y  # (n, 1, W), (n, H, 1)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    source_x = (cos * x + sin * y) * (2 / width)
    source_y = (cos * y - sin * x) * (2 / height)
    return torch.stack((source_x, source_y), dim=-1)
