"""BN-Inception, "IBN" in the paper on MDR: Inception v2 with BatchNorm, for colour images."""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.state_dicts import State, load_weights


class _Block(NamedTuple):
    """Channels of each layer of an Inception block. Its branches get the same input; their outputs are concatenated.

    If the branch `single` has 0 channels, it is left out, and the block halves height and width: the last convolutions
    of `triple` and `double` have stride 2, and the pooled input is concatenated without a 1x1 convolution.
    """

    name: str
    single: int  # 1x1
    triple: tuple[int, int]  # 1x1, 3x3
    double: tuple[int, int, int]  # 1x1, 3x3, 3x3
    pool: str
    pool_projection: int  # 1x1 behind the pooling

    @property
    def out_channels(self) -> int:
        """Number of output channels, not counting the pooled input of a block that halves the image."""
        return self.single + self.triple[-1] + self.double[-1] + self.pool_projection


_BLOCKS = (
    _Block("inception_3a", 64, (64, 64), (64, 96, 96), "average", 32),
    _Block("inception_3b", 64, (64, 96), (64, 96, 96), "average", 64),
    _Block("inception_3c", 0, (128, 160), (64, 96, 96), "max", 0),
    _Block("inception_4a", 224, (64, 96), (96, 128, 128), "average", 128),
    _Block("inception_4b", 192, (96, 128), (96, 128, 128), "average", 128),
    _Block("inception_4c", 160, (128, 160), (128, 160, 160), "average", 128),
    _Block("inception_4d", 96, (128, 192), (160, 192, 192), "average", 128),
    _Block("inception_4e", 0, (128, 192), (192, 256, 256), "max", 0),
    _Block("inception_5a", 352, (192, 320), (160, 224, 224), "average", 128),
    _Block("inception_5b", 352, (192, 320), (192, 224, 224), "max", 128),
)
_HALVING = tuple(block.name for block in _BLOCKS if not block.single)
# Value of the authors of MDR, as PyTorch defines it: the last batch has nine tenths of the weight in the statistics.
_MOMENTUM = 0.9


class BNInception(Backbone):
    """BN-Inception up to its global average pooling. It maps images (n, 3, H, W) to features (n, 1024).

    H and W must be at least 7. The layers have the same names as in the published file of weights,
    bn_inception-52deb4733.pth of the pretrainedmodels project. These weights were converted from Caffe, and therefore
    expect the channels blue, green, red in 0..255. A new network has random weights from torch's global generator.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015, figure 5, with the channels and pooling of that file.
    """

    name = "bn_inception"
    feature_size = 1024
    in_channels = 3
    image_size = 224
    min_image_size = 7
    bgr = True
    _pools = True

    def __init__(self) -> None:
        super().__init__()
        self.set_normalization((104.0, 117.0, 128.0), (1.0, 1.0, 1.0))
        self._add("conv1_7x7_s2", 3, 64, kernel=7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64)
        self._add("conv2_3x3", 64, 192, kernel=3)
        channels = 192
        for block in _BLOCKS:
            channels = self._add_block(block, channels)
        assert channels == self.feature_size

    def load_file(self, state: State, path: Path) -> None:
        """Load `state`, which was read from `path`: the weights of the published file, or a state dict of this class.

        Of the published file, the classification layer is left out, and the tensors of BatchNorm are flattened.
        """
        kept = {key: tensor for key, tensor in state.items() if not key.startswith("last_linear.")}
        flat = {key: tensor.flatten() if "_bn." in key and tensor.ndim > 1 else tensor for key, tensor in kept.items()}
        load_weights(self, flat, path)

    def _add_block(self, block: _Block, channels: int) -> int:
        """Add the layers of `block`, whose input has `channels` channels. Return the number of its output channels."""
        name, (reduce, triple), (double_reduce, double_1, double_2) = block.name, block.triple, block.double
        stride = 2 if name in _HALVING else 1
        if block.single:
            self._add(f"{name}_1x1", channels, block.single)
        self._add(f"{name}_3x3_reduce", channels, reduce)
        self._add(f"{name}_3x3", reduce, triple, kernel=3, stride=stride)
        self._add(f"{name}_double_3x3_reduce", channels, double_reduce)
        self._add(f"{name}_double_3x3_1", double_reduce, double_1, kernel=3)
        self._add(f"{name}_double_3x3_2", double_1, double_2, kernel=3, stride=stride)
        if block.pool_projection:
            self._add(f"{name}_pool_proj", channels, block.pool_projection)
        return block.out_channels + (channels if stride == 2 else 0)

    def _add(self, name: str, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)
        self.add_module(name, convolution)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(out_channels, momentum=_MOMENTUM))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images (n, 3, H, W) to features (n, 1024)."""
        features = F.max_pool2d(self._layer("conv1_7x7_s2", images), 3, stride=2, ceil_mode=True)
        features = self._layer("conv2_3x3", self._layer("conv2_3x3_reduce", features))
        features = F.max_pool2d(features, 3, stride=2, ceil_mode=True)
        for block in _BLOCKS:
            features = self._block(block, features)
        return features.mean((2, 3)) if self._pools else features

    def without_pooling(self) -> None:
        """Make `forward` return maps (n, 1024, h, w); see `Backbone.without_pooling`."""
        self._pools = False

    def list_blocks(self) -> list[nn.Module]:
        """Return the 12 blocks: the first convolution, the next two convolutions as one, and ten Inception blocks."""
        names = ["conv1", "conv2", *(block.name for block in _BLOCKS)]
        return [
            nn.ModuleList(layer for key, layer in self.named_children() if key.startswith(f"{name}_")) for name in names
        ]

    def _block(self, block: _Block, images: torch.Tensor) -> torch.Tensor:
        name = block.name
        branches = [self._layer(f"{name}_1x1", images)] if block.single else []
        branches.append(self._layer(f"{name}_3x3", self._layer(f"{name}_3x3_reduce", images)))
        double = self._layer(f"{name}_double_3x3_1", self._layer(f"{name}_double_3x3_reduce", images))
        branches.append(self._layer(f"{name}_double_3x3_2", double))
        if name in _HALVING:
            branches.append(_halve(images))
        else:
            pool = F.avg_pool2d if block.pool == "average" else F.max_pool2d
            branches.append(self._layer(f"{name}_pool_proj", pool(images, 3, stride=1, padding=1)))
        return torch.cat(branches, 1)

    def _layer(self, name: str, images: torch.Tensor) -> torch.Tensor:
        """Apply the convolution `name`, its BatchNorm and ReLU to `images`."""
        return F.relu(getattr(self, f"{name}_bn")(getattr(self, name)(images)), inplace=True)


def _halve(images: torch.Tensor) -> torch.Tensor:
    """Halve height and width of `images` by 3x3 max-pooling with stride 2.

    For even sizes, this is the pooling of the published network, which cannot take odd sizes. Images of odd size are
    padded, so that the output has half their size, rounded up, as the stride-2 convolutions of the block give it.
    """
    odd = (images.shape[2] % 2, images.shape[3] % 2)
    return F.max_pool2d(images, 3, stride=2, padding=odd, ceil_mode=True)
