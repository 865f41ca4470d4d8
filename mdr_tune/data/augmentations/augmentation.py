"""The interface of augmentations of training images, and two simple augmentations."""

from typing import Protocol

import torch

from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params
from mdr_tune.data.augmentations.cropping import center_crop


class Augmentation(Protocol):
    """A random change of each image of a batch, in two steps.

    First, `draw` draws random numbers for all images of the global batch. Then the object is called with the images of
    one rank and their random numbers. So the results do not depend on the number of ranks that share the batch.
    """

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the results' height and width (pixels). Raise ValueError if `image_shape` (C, H, W) is too small."""

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Draw random numbers for a global batch of `batch_size` images: (batch_size, k) float32 on the CPU.

        k depends on the augmentation. Row i is a function of (image_shape, seed, epoch, step, i). `image_shape` is
        (C, H, W), and `seed` is the trial's. `epoch` and `step` (the batch within the epoch) are counted from 0.
        """

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return the changed images, each computed on its own: (n, C, *output_size) uint8, or float32 in 0..255.

        Args:
            images: (n, C, H, W) uint8 on any device. The result is on the same device.
            params: (n, k) float32 on the CPU, the rows of `draw`'s result for these images. If they are in pinned
                memory, copying them to the device does not block.
        """


class Affine:
    """An `Augmentation` by a small random rotation, scaling and shift (`augment_affine`), followed by a centre crop.

    `image_size` is the height and width of the crop in pixels; None keeps the whole image.
    """

    def __init__(self, image_size: int | None = None) -> None:
        self._middle = CenterCrop(image_size)

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the crop's height and width in pixels. Raise ValueError if images of `image_shape` are smaller."""
        return self._middle.output_size(image_shape)

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Return the result of `draw_affine_params` for these arguments, (batch_size, 4). `image_shape` is not used."""
        return draw_affine_params(batch_size, seed, epoch, step)

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return the images, rotated, scaled and shifted by `params` and then cropped: (n, C, *output_size) float32."""
        # A shift moves the repeated border into the image; the crop comes last, to cut it off.
        changed = augment_affine(images, params.to(images.device, non_blocking=True))
        return self._middle(changed, params[:, :0])


class CenterCrop:
    """An `Augmentation` without random changes, which returns a view of the middle of each image.

    `image_size` is the height and width of the crop in pixels; None keeps the whole image.
    """

    def __init__(self, image_size: int | None = None) -> None:
        self._image_size = image_size

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the crop's height and width in pixels. Raise ValueError if images of `image_shape` are smaller."""
        height, width = self._crop(torch.empty(image_shape, device="meta")[None]).shape[-2:]
        return height, width

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Return an empty tensor, (batch_size, 0), because no random numbers are needed."""
        return torch.empty(batch_size, 0)

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return the cropped images, (n, C, *output_size), of the dtype of `images`. `params` is not used."""
        return self._crop(images)

    def _crop(self, images: torch.Tensor) -> torch.Tensor:
        return images if self._image_size is None else center_crop(images, self._image_size)
