"""What happens to training images before the network sees them; found by name, seeded for the global batch."""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params
from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.util.registry import Registry


class Augmentation(Protocol):
    """A random change of each image, in two steps: numbers are drawn for the global batch, and applied to a slice.

    So the images of a batch depend on (seed, epoch, step) and not on how many ranks share it.
    """

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of what images of `image_shape` (C, H, W) become, in pixels.

        Raises:
            ValueError: they are too small.
        """

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Draw the changes of a global batch. Row i is a function of (image_shape, seed, epoch, step, i).

        Args:
            batch_size: images in the global batch, B.
            image_shape: (C, H, W) of the images.
            seed: the trial's seed.
            epoch: from 0.
            step: the batch's number within the epoch, from 0.

        Returns:
            (B, k) float32 on the CPU.
        """

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return the changed images, each on its own.

        Args:
            images: (n, C, H, W) uint8 on any device.
            params: (n, k) float32 on the CPU, rows of what `draw` gave; pinned if the device shall not be waited for.

        Returns:
            (n, C, *output_size) uint8, or float32 in 0..255, on the device of `images`.
        """


class Affine:
    """A small rotation, scaling and shift (`augment_affine`), then the middle.

    Args:
        image_size: height and width of the middle in pixels; None: the whole image.
    """

    def __init__(self, image_size: int | None = None) -> None:
        self._middle = CenterCrop(image_size)

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of the result; ValueError if the images are smaller."""
        return self._middle.output_size(image_shape)

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Draw (B, 4), see `draw_affine_params`; `image_shape` has no say."""
        return draw_affine_params(batch_size, seed, epoch, step)

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return (n, C, *output_size) float32."""
        # The shift into the image would show its repeated border: the middle is taken last.
        changed = augment_affine(images, params.to(images.device, non_blocking=True))
        return self._middle(changed, params[:, :0])


class CenterCrop:
    """No change at all: the middle of each image, a view.

    Args:
        image_size: height and width of the middle in pixels; None: the whole image.
    """

    def __init__(self, image_size: int | None = None) -> None:
        self._image_size = image_size

    def output_size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return height and width of the middle; ValueError if the images are smaller."""
        height, width = self._crop(torch.empty(image_shape, device="meta")[None]).shape[-2:]
        return height, width

    def draw(self, batch_size: int, image_shape: tuple[int, ...], seed: int, epoch: int, step: int) -> torch.Tensor:
        """Return (B, 0): there is nothing to draw."""
        return torch.empty(batch_size, 0)

    def __call__(self, images: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Return (n, C, *output_size), of the dtype of `images`."""
        return self._crop(images)

    def _crop(self, images: torch.Tensor) -> torch.Tensor:
        return images if self._image_size is None else center_crop(images, self._image_size)


AUGMENTATIONS: "Registry[Callable[..., Augmentation]]" = Registry("augmentation")
AUGMENTATIONS.add("affine", "mdr_tune.data.augmentations.augmentation:Affine")
AUGMENTATIONS.add("random_resized_crop", "mdr_tune.data.augmentations.random_resized_crop:RandomResizedCrop")
AUGMENTATIONS.add("none", "mdr_tune.data.augmentations.augmentation:CenterCrop")


def build_augmentation(name: str, image_size: int | None, **arguments: Any) -> Augmentation:
    """Make an augmentation by its name: affine, random_resized_crop, or none.

    Args:
        name: of the augmentation.
        image_size: height and width of its results in pixels; None: those of the images (random_resized_crop: their
            height, both ways).
        arguments: others that it takes; only random_resized_crop has any.

    Raises:
        ValueError: the name is unknown, and the message lists the known ones; or an argument is out of range.
    """
    return AUGMENTATIONS[name](image_size, **arguments)
