"""The augmentation of the authors of MDR: a random part of the image, resized, and mirrored with probability 1/2."""

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch

from mdr_tune.data.augmentations.crop_resize import crop_resize
from mdr_tune.data.images.decoding import Interpolation
from mdr_tune.data.seeding import derive_seed

# The authors' settings. Their ratios are torchvision's defaults (3/4 and 4/3), written with two digits.
SCALE = (0.16, 1.0)
RATIO = (0.75, 1.33)
FLIP = 0.5

ATTEMPTS = 10  # as in torchvision's RandomResizedCrop


def draw_boxes(
    uniform: np.ndarray, height: int, width: int, scale: Sequence[float] = SCALE, ratio: Sequence[float] = RATIO
) -> np.ndarray:
    """Turn each row of `uniform` into a box, (B, 4) int64: top, left, height and width within an image, in pixels.

    As in torchvision's `RandomResizedCrop`, a row gives ten candidates for the size of the box. A candidate's share of
    the image's area is uniform over `scale`, and its width / height is log-uniform over `ratio`. Its sides are rounded
    to whole pixels. The first candidate that fits into the image is used, and all positions of the box are equally
    likely. If none fits, the box is the largest one in the middle of the image whose width / height is within `ratio`.

    Args:
        uniform: (B, 22) random numbers in [0, 1): ten for areas, ten for ratios, then one each for top and left.
        height: height of the images in pixels.
        width: width of the images in pixels.
        scale: least and largest share of the image's area.
        ratio: least and largest width / height.
    """
    log_ratio = np.log(ratio)
    areas = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[:, :ATTEMPTS])  # (B, 10)
    ratios = np.exp(log_ratio[0] + (log_ratio[1] - log_ratio[0]) * uniform[:, ATTEMPTS : 2 * ATTEMPTS])
    heights = np.rint(np.sqrt(areas / ratios)).astype(np.int64)
    widths = np.rint(np.sqrt(areas * ratios)).astype(np.int64)
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    rows, first = np.arange(len(uniform)), fits.argmax(axis=1)
    sizes = np.stack([heights[rows, first], widths[rows, first]], axis=1)  # (B, 2)
    free = np.array([height, width]) - sizes
    places = np.minimum(
        np.floor(uniform[:, 2 * ATTEMPTS :] * (free + 1)).astype(np.int64), free
    )  # the product may round up to free + 1
    boxes = np.concatenate([places, sizes], axis=1)
    boxes[~fits.any(axis=1)] = _central_box(height, width, ratio)
    return boxes


def _central_box(height: int, width: int, ratio: Sequence[float]) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the largest box in the middle of an image of `height` x `width` pixels.

    `ratio` has the least and the largest width / height that the box may have.
    """
    box_height, box_width = height, width
    if width / height < ratio[0]:
        box_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        box_width = round(height * ratio[1])
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


class RandomResizedCrop:
    """An `Augmentation` that cuts a random part out of each image, resizes it to a square, and mirrors it at random.

    The part is resized with antialiasing. The default filter is Lanczos', as in the authors' code, which calls Pillow.
    With this filter, pixels of photos differ from those of the authors' code by 0.04 grey values on average (0.3 on a
    GPU, where pixels are not rounded); with bicubic by 1.0, and with bilinear by 2.1 (see test_crop_resize.py).

    Args:
        image_size: height and width of the results in pixels; None: the height of the images for both.
        scale: least and largest share of the image's area that is cut out.
        ratio: least and largest width / height of the part that is cut out.
        flip: probability that an image is mirrored, left to right.
        interpolation: name of the resampling filter, "lanczos", "bicubic" or "bilinear".

    Raises:
        ValueError: a number is out of range, or `interpolation` is no such name.
    """

    def __init__(
        self,
        image_size: int | None = None,
        scale: Sequence[float] = SCALE,
        ratio: Sequence[float] = RATIO,
        flip: float = FLIP,
        interpolation: Interpolation = "lanczos",
    ) -> None:
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size must be positive, got {image_size}")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale must be two shares of an area, 0 < least <= largest <= 1, got {tuple(scale)}")
        if not 0 < ratio[0] <= ratio[1] < math.inf:
            raise ValueError(f"ratio must be two numbers, 0 < least <= largest, got {tuple(ratio)}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must be a probability, got {flip}")
        if interpolation not in get_args(Interpolation):
            known = ", ".join(get_args(Interpolation))
            raise ValueError(f"interpolation must be one of {known}, got {interpolation!r}")
        self._image_size, self._scale, self._ratio, self._flip = image_size, scale, ratio, flip
        self._interpolation: Interpolation = interpolation

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of the results in pixels for images of `image_shape` (C, H, W)."""
        size = self._image_size or image_shape[1]
        return size, size

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Draw for each image of a global batch the part to cut out and whether to mirror it: (batch_size, 5) float32.

        The columns are top, left, height and width of the part in pixels, and 1 to mirror, else 0. One generator,
        seeded with `derive_seed("random_resized_crop", seed, epoch, step)`, draws row after row.
        """
        generator = np.random.default_rng(derive_seed("random_resized_crop", seed, epoch, step))
        uniform = generator.random((batch_size, 2 * ATTEMPTS + 3))
        boxes = draw_boxes(uniform[:, :-1], image_shape[1], image_shape[2], self._scale, self._ratio)
        params = np.concatenate([boxes, uniform[:, -1:] < self._flip], axis=1)
        return torch.from_numpy(params.astype(np.float32))

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Cut out, resize and mirror each of `images` by its row of `params`, which `draw` drew for these images.

        `images` are (n, C, H, W) uint8 on any device, and `params` (n, 5) on the CPU. The result, (n, C, *output_size),
        is uint8 on a CPU, and float32 in 0..255 on another device. Wrong shapes are a ValueError.
        """
        if images.ndim != 4 or params.shape != (len(images), 5):
            raise ValueError(
                f"expected images (n, C, H, W) and params (n, 5), got {tuple(images.shape)} and {tuple(params.shape)}"
            )
        size, _ = self.output_size(tuple(images.shape[1:]))
        return crop_resize(images, params, size, self._interpolation)
