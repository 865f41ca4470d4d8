"""The backbone of data that are vectors already."""

import torch

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.image_limits import ImageLimits


class Identity(Backbone):
    """Passes on vectors of `size` numbers, float32 (n, 1, 1, size) or (n, size), as features (n, size)."""

    name, in_channels, min_image_size = "identity", 1, 1

    def __init__(self, size: int) -> None:
        super().__init__()
        self.feature_size = self.image_size = size
        self.set_normalization((0.0,), (1.0,))

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return the vectors `images` as float32, not normalised."""
        return images.float()

    def check_image_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless `shape` is that of a vector: (1, 1, size) or (size,)."""
        if shape not in ((1, 1, self.feature_size), (self.feature_size,)):
            raise ValueError(f"identity takes vectors of {self.feature_size} numbers, got {shape}")

    @property
    def image_limits(self) -> ImageLimits:
        """Limits that allow vectors of any length; `check_image_shape` checks the length."""
        return ImageLimits(self.name, 1, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the vectors as features (n, size)."""
        return images.flatten(1)
