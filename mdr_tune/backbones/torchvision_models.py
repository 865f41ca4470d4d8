"""The classification models of torchvision as backbones: each is a model without its classification layer."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.blocks import blocks_of
from mdr_tune.backbones.image_limits import ImageLimits
from mdr_tune.backbones.state_dicts import State, load_weights

# GoogLeNet and Inception v3 were trained on values in -1..1. torchvision normalises their images as for its other
# models, and converts the values inside the network (`transform_input`). Here `normalize` gives values in -1..1.
_MINUS_ONE_TO_ONE = ("googlenet", "inception_v3")
_FIXED_IMAGE_SIZE = ("vit_", "maxvit_")
_LEAST_IMAGE_SIZE = {"efficientnet_v2_": 1, "swin_": 4}
"""Least height and width, in pixels, that some networks take. The keys are the beginnings of the networks' names.

The least sizes that torchvision publishes are larger than needed for these networks. For example, that of Swin is the
size of the images that the weights were trained on.
"""
_VIT_IMAGE_SIZE = 224  # torchvision's default for a vision transformer
_AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")
_POOLED_BY = {
    **dict.fromkeys(("ResNet", "RegNet", "EfficientNet", "SwinTransformer", "GoogLeNet", "Inception3"), "avgpool"),
    **dict.fromkeys(("DenseNet", "MNASNet", "MobileNetV2", "SqueezeNet"), "classifier"),
    "ShuffleNetV2": "fc",
}
"""Classes of networks that end with a global average pooling, each with the name of the first child behind the maps:
the pooling or, where the pooling is a function or a part of the head, the head. `_maps` calls the children before it in
order. All other networks, except vision transformers, have layers behind their pooling."""


@cache
def classification_models() -> tuple[str, ...]:
    """Return the names of torchvision's classification models."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


class TorchvisionBackbone(Backbone):
    """torchvision's classification model `name`, with random weights and without its classification layer.

    The last linear layer (for SqueezeNet, the last convolution) and a Dropout right before it are removed. The rest of
    the head stays, such as the two wide layers of VGG. `weights` is the name of published weights, whose preprocessing
    is used; any other text stands for `DEFAULT`.
    """

    _pools = True

    def __init__(self, name: str, weights: str = "DEFAULT") -> None:
        super().__init__()
        limits = image_limits(name, weights)
        options: dict[str, Any] = {}
        if name in _MINUS_ONE_TO_ONE:
            options = {"aux_logits": False, "transform_input": False, "init_weights": True}
        elif name.startswith("vit_"):
            options = {"image_size": limits.image_size}  # its position embedding has this size
        self.network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        self.head, self.feature_size = remove_head(self.network)

        self.name, self.in_channels, self.image_size, self.min_image_size, self.fixed_image_size = limits[:5]
        if name in _MINUS_ONE_TO_ONE:
            self.set_normalization((127.5,) * 3, (127.5,) * 3)
        else:
            images = _published(name, weights).transforms()
            mean, std = (tuple(255 * value for value in values) for values in (images.mean, images.std))
            self.set_normalization(mean, std)

    def load_file(self, state: State, path: Path) -> None:
        """Load `state`, which was read from `path`: a state dict of torchvision's model or of this class.

        Tensors of classification layers are left out.
        """
        own = any(key.startswith("network.") for key in state)
        load_weights(self if own else self.network, state, path, lambda state: _without_heads(state, self.head))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images (n, 3, H, W) to features (n, feature_size)."""
        if self._pools:
            features: torch.Tensor = self.network(images)
            return features
        return self._tokens(images) if self.prefix_tokens else self._maps(images)

    def without_pooling(self) -> None:
        """Make `forward` return maps, or the tokens of a vision transformer; see `Backbone.without_pooling`."""
        kind = type(self.network).__name__
        if kind not in (*_POOLED_BY, "VisionTransformer"):
            super().without_pooling()
        self._pools = False
        self.prefix_tokens = int(kind == "VisionTransformer")

    def _maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return the maps (n, feature_size, h, w) that the network would pool."""
        features = images
        for name, child in self.network.named_children():
            if name == _POOLED_BY[type(self.network).__name__]:
                break
            features = child(features)
        return features.relu() if isinstance(self.network, torchvision.models.DenseNet) else features

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens (n, T, feature_size) of a vision transformer, the class token first."""
        network: Any = self.network
        patches = network._process_input(images)  # shape[0], not len, which torch.export would fix
        tokens: torch.Tensor = network.encoder(
            torch.cat([network.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        )
        return tokens

    def list_blocks(self) -> list[nn.Module]:
        """Return the blocks, such as the residual blocks of a ResNet; a stem or an embedding is the first."""
        models: Any = torchvision.models
        opened = (models.vision_transformer.Encoder, models.regnet.AnyStage, models.maxvit.MaxVitBlock)
        return blocks_of(self, opened)


def image_limits(name: str, weights: str = "DEFAULT") -> ImageLimits:
    """Return the shapes of images that torchvision's model `name` takes, without making the model.

    For most models, the sizes come from the published weights named `weights`, or `DEFAULT` if none have this name.
    """
    published = _published(name, weights)
    size, smallest = published.transforms().crop_size[0], max(published.meta["min_size"])
    if name.startswith("vit_"):  # as large as its position embedding
        size = smallest if weights in type(published).__members__ else _VIT_IMAGE_SIZE
    smallest = next((least for of, least in _LEAST_IMAGE_SIZE.items() if name.startswith(of)), smallest)
    fixed = name.startswith(_FIXED_IMAGE_SIZE)
    return ImageLimits(name, 3, size, size if fixed else smallest, fixed)


def _published(name: str, weights: str) -> Any:
    """Return torchvision's entry for the published `weights` of the model `name`, or else its entry for DEFAULT."""
    entries: Any = torchvision.models.get_model_weights(name)
    return entries[weights if weights in entries.__members__ else "DEFAULT"]


def remove_head(network: nn.Module) -> tuple[str, int]:
    """Replace the classification layer of `network`, and a Dropout directly before it, by the identity.

    Return the name of the classification layer in the network, and the length of the features that were its input.
    """
    kind: type[nn.Module] = nn.Conv2d if isinstance(network, torchvision.models.SqueezeNet) else nn.Linear
    name, layer = [(name, module) for name, module in network.named_modules() if isinstance(module, kind)][-1]
    parent_name, _, own_name = name.rpartition(".")
    parent = network.get_submodule(parent_name)
    siblings = list(parent.named_children())
    place = [sibling for sibling, _ in siblings].index(own_name)
    setattr(parent, own_name, nn.Identity())
    if place > 0 and isinstance(siblings[place - 1][1], nn.Dropout):
        setattr(parent, siblings[place - 1][0], nn.Identity())
    size: int = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features  # type: ignore[assignment]
    return name, size


def _without_heads(state: State, head: str) -> State:
    """Return `state` without the tensors of auxiliary classifiers and of `head`, the name of the classification layer.

    Old names of DenseNet's layers are replaced by the names that torchvision uses today.
    """
    dropped = (f"{head}.", *_AUXILIARY_HEADS)
    kept = {key: tensor for key, tensor in state.items() if not key.startswith(dropped)}
    # The files of the published DenseNets have `denselayer1.norm.1` where torchvision has `denselayer1.norm1` today.
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=\d\.)", r"\1", key): tensor for key, tensor in kept.items()}
