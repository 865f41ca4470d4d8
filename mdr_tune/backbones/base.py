"""What every backbone tells the code that feeds it."""

import torch
from torch import nn


class Backbone(nn.Module):
    """A network from normalised images (n, C, H, W) to features (n, feature_size).

    Attributes:
        feature_size: length of the feature vector.
        in_channels: C, 1 (grey) or 3 (RGB).
        image_size: H and W in pixels.
        input_mean: per channel, subtracted from grey values in 0..255.
        input_std: per channel, what the difference is divided by, in the same unit.
    """

    feature_size: int
    in_channels: int
    image_size: int
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return what `forward` takes, float32, from images (n, C, H, W), uint8 or float in 0..255.

        Raises:
            ValueError: the images do not have the backbone's channels and size.
        """
        expected = (self.in_channels, self.image_size, self.image_size)
        if tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"{type(self).__name__} takes images (n, {', '.join(map(str, expected))}), "
                f"got {tuple(images.shape)}: choose a backbone made for this data set"
            )
        mean = torch.tensor(self.input_mean, device=images.device)[:, None, None]
        std = torch.tensor(self.input_std, device=images.device)[:, None, None]
        return (images - mean) / std
