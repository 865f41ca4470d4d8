"""Conv4: the small network of the few-shot literature, for 32x32 grey images on a CPU."""

import torch
from torch import nn

from mdr_tune.backbones.backbone import Backbone


class Conv4(Backbone):
    """A network of four blocks that maps images (n, in_channels, 32, 32) to features (n, 4 * width).

    Each block has a convolution, BatchNorm, ReLU and 2x2 max-pooling. The blocks have width/2, width, width and width
    channels; `width` must be even. The first block works on the most pixels: its width/2 halves the time of a step. The
    last block's 2x2 pixels are flattened. Weights are drawn from torch's global generator, as in He et al. (2015).

    Source: Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016 (there 4 x 64 channels).
    """

    name = "conv4"
    image_size = 32
    min_image_size = 32
    fixed_image_size = True

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"width must be a positive even number, got {width}")
        self.in_channels = in_channels
        self.feature_size = 4 * width
        self.set_normalization((127.5,) * in_channels, (63.75,) * in_channels)
        channels = (in_channels, width // 2, width, width, width)
        self.blocks = nn.Sequential(
            *(_block(channels[i], channels[i + 1]) for i in range(len(channels) - 1)), nn.Flatten()
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images (n, in_channels, 32, 32) to features (n, feature_size)."""
        features: torch.Tensor = self.blocks(images)
        return features

    def without_pooling(self) -> None:
        """Make `forward` return maps (n, width, 2, 2) instead of flattening them; see `Backbone.without_pooling`."""
        self.blocks[-1] = nn.Identity()
        self.feature_size = self.feature_size // 4


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    # Pooling before the ReLU gives the same values (both are monotonic) on a quarter of the elements.
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.MaxPool2d(2), nn.ReLU(inplace=True))
