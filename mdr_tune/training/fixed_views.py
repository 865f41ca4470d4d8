"""A fixed number of augmented views of each training image, so that features of a frozen backbone can be kept."""

from functools import cache

import torch

from mdr_tune.data.augmentations.augmentation import Augmentation
from mdr_tune.data.seeding import derive_seed

SEED = 0
"""Seed of the views. It is not the trial's, so that trials share the features."""


class FixedViews:
    """`count` augmented views of each of `num_images` images of `image_shape` (C, H, W)."""

    def __init__(self, augmentation: Augmentation, count: int, num_images: int, image_shape: tuple[int, ...]) -> None:
        self.count = count
        self._augmentation = augmentation
        self._drawn = cache(lambda view: augmentation.draw(num_images, image_shape, SEED, view, 0))

    def draw(self, batch_size: int, seed: int, epoch: int, step: int) -> torch.Tensor:
        """Draw the view of each image in a step's global batch: numbers from 0 to `count` - 1, (batch_size,) int64."""
        generator = torch.Generator().manual_seed(derive_seed("views", seed, epoch, step))
        return torch.randint(self.count, (batch_size,), generator=generator)

    def parameters(self, indices: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        """Return the augmentation's random numbers, (m, k), for the images at `indices` (m,) in their `views` (m,)."""
        rows = [self._drawn(int(view))[index] for index, view in zip(indices, views, strict=True)]
        return torch.stack(rows)

    def see(self, images: torch.Tensor, indices: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        """Return the `images` (m, C, H, W) at `indices` (m,) of the training split as seen in their `views` (m,)."""
        return self._augmentation(images, self.parameters(indices, views))
