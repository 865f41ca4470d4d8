"""The interface of augmentations of training images, and two simple augmentations."""

from typing import Protocol

import torch

from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params
from mdr_tune.data.augmentations.cropping import center_crop


class Augmentation(Protocol):
    """A random change of each image of a batch, in two steps.

    First, `draw` draws random numbers for all images of the global batch. Then the object is called with the images of
    one rank and the random numbers of these images. So the changed images depend on (seed, epoch, step), and not on the
    number of ranks that share the batch.
    """

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width, in pixels, of the results for images of `image_shape` (C, H, W).

        Raises:
            ValueError: the images are too small.
        """

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Draw the random numbers for a global batch. Row i is a function of (image_shape, seed, epoch, step, i).

        Args:
            batch_size: B, the number of images in the global batch.
            image_shape: (C, H, W) of the images.
            seed: the trial's seed.
            epoch: index of the epoch, from 0.
            step: index of the batch within the epoch, from 0.

        Returns:
            (B, k) float32 on the CPU: k numbers for each image. k depends on the augmentation.
        """

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return the changed images. Each is computed on its own.

        Args:
            images: (n, C, H, W) uint8 on any device.
            params: (n, k) float32 on the CPU, the rows of `draw`'s result for these images. If they are in pinned
                memory, copying them to the device does not block.

        Returns:
            (n, C, *output_size) uint8, or float32 in 0..255, on the device of `images`.
        """


class Affine:
    """A small rotation, scaling and shift (`augment_affine`), followed by a centre crop.

    Args:
        image_size: height and width of the crop in pixels; None keeps the whole image.
    """

    def __init__(self, image_size: int | None = None) -> None:
        self._middle = CenterCrop(image_size)

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of the crop; raise ValueError if the images are smaller than the crop."""
        return self._middle.output_size(image_shape)

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Return the result of `draw_affine_params`, (B, 4). `image_shape` is not used."""
        return draw_affine_params(batch_size, seed, epoch, step)

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return the rotated, scaled, shifted and cropped images, (n, C, *output_size) float32."""
        # A shift moves the repeated border into the image; the crop comes last, to cut it off.
        changed = augment_affine(images, params.to(images.device, non_blocking=True))
        return self._middle(changed, params[:, :0])


class CenterCrop:
    """An augmentation without random changes. It returns a view of the middle of each image.

    Args:
        image_size: height and width of the crop in pixels; None keeps the whole image.
    """

    def __init__(self, image_size: int | None = None) -> None:
        self._image_size = image_size

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of the crop, in pixels; raise ValueError if the images are smaller than the crop."""
        height, width = self._crop(torch.empty(image_shape, device="meta")[None]).shape[-2:]
        return height, width

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Return an empty tensor, (B, 0), because no random numbers are needed."""
        return torch.empty(batch_size, 0)

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return the cropped images, (n, C, *output_size), of the dtype of `images`."""
        return self._crop(images)

    def _crop(self, images: torch.Tensor) -> torch.Tensor:
        return images if self._image_size is None else center_crop(images, self._image_size)
