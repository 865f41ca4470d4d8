"""The model that is trained, checkpointed and registered: normalisation, backbone, pooling, head."""

from typing import Literal

import torch
from torch import nn

from mdr_tune.backbones import Backbone, build_backbone
from mdr_tune.backbones.hidden_layers import hidden_layers
from mdr_tune.backbones.identity import Identity
from mdr_tune.backbones.pooling import Pool, Pooling
from mdr_tune.config.heads import HiddenHead
from mdr_tune.config.trial import TrialConfig
from mdr_tune.metric import EmbeddingMode, apply_test_mode
from mdr_tune.util.errors import UserError

ImageShape = tuple[int, int, int]
"""Number of channels, height and width of an image, (C, H, W)."""


class EmbeddingModel(nn.Module):
    """Network from images to embeddings: backbone, pooling, hidden layers of the head, embedding layer.

    Args:
        backbone: The network before the head.
        size: Length of an embedding, D. None: the number of the backbone's features.
        mode: `l2` puts embeddings on the unit sphere; `rescale` and `none` leave them as they are in evaluation.
        channels_last: Whether images and convolutions have the memory layout "channels last", usually the faster one.
        pool: Pooling of the backbone's maps or tokens, see `Pooling`. `auto`: the backbone's own.
        head: `linear`: the embedding layer alone; `identity`: no layer; or the settings of hidden layers before it.

    Attributes:
        embedding_size: Length of an embedding, D.
        linear: The embedding layer; the identity for the head `identity`.

    Raises:
        UserError: The backbone does not fit `pool`, or `size` does not fit the head `identity`. The message begins with
            the key.
    """

    def __init__(
        self,
        backbone: Backbone,
        size: int | None,
        mode: EmbeddingMode,
        channels_last: bool = True,
        pool: Pool = "auto",
        head: HiddenHead | Literal["linear", "identity"] = "linear",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = make_pooling(backbone, pool)
        features = backbone.feature_size
        self.embedding_size = features if size is None else size
        self.hidden: nn.Module = nn.Identity()
        if isinstance(head, HiddenHead):
            self.hidden = hidden_layers(features, head.hidden, head.norm, head.dropout)
            features = head.hidden[-1]
        self.linear: nn.Module = nn.Identity()
        if head != "identity":
            self.linear = nn.Linear(features, self.embedding_size)
        elif self.embedding_size != features:
            raise UserError(
                f"embedding.size: {size}, but with head: identity an embedding is the {features} features of "
                f"{backbone.name}: write {features}, or null, which stands for it"
            )
        self.mode: EmbeddingMode = mode
        self.reads_features = False
        """Whether `forward` gets features (n, 1, 1, F) in place of images."""
        self.takes_images = not isinstance(backbone, Identity)
        """False if the model takes vectors."""
        laid_out_last = channels_last and self.takes_images
        self._memory_format = torch.channels_last if laid_out_last else torch.contiguous_format
        self.to(memory_format=self._memory_format)

    @classmethod
    def from_config(
        cls, config: TrialConfig, pretrained: bool = True, image_size: int | None = None
    ) -> "EmbeddingModel":
        """Build the model of `config`, with the backbone's weights (UserError if there are none) or all random.

        Use `pretrained` False if a checkpoint is loaded next. Random weights come from torch's global generator.
        `image_size` is the height and width of the images; None: the backbone's usual size.
        """
        backbone = build_backbone(
            config.backbone.name,
            config.backbone.weights,
            load=pretrained,
            image_size=image_size,
            arguments=config.backbone.arguments,
        )
        embedding = config.embedding
        mode = config.embedding_mode
        return cls(backbone, embedding.size, mode, config.channels_last, embedding.pool, embedding.head)

    @property
    def head(self) -> nn.ModuleList:
        """Everything behind the backbone: pooling, hidden layers, embedding layer."""
        return nn.ModuleList([self.pool, self.hidden, self.linear])

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the parameters."""
        return next(self.parameters()).dtype

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pooled features (n, F) of `images`, without the hidden layers and the embedding layer."""
        normalized = self.backbone.normalize(images).to(self.dtype, memory_format=self._memory_format)
        features: torch.Tensor = self.pool(self.backbone(normalized))
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed `images` (n, C, H, W), uint8 or float in 0..255, grey or RGB, of a size that the backbone takes.

        Returns:
            (n, D). In training mode, the raw output of the linear layer; `apply_embedding_mode` needs the global batch,
            and is applied after the gather. In eval mode, the embeddings that retrieval compares by Euclidean distance.
        """
        features = images.flatten(1).to(self.dtype) if self.reads_features else self.features(images)
        embeddings: torch.Tensor = self.linear(self.hidden(features))
        return embeddings if self.training else apply_test_mode(embeddings, self.mode)


def make_pooling(backbone: Backbone, pool: Pool) -> Pooling:
    """Return a `Pooling` of type `pool` to apply to the output of `backbone`.

    The backbone's own pooling is removed unless `pool` is `auto`.

    Raises:
        UserError: The backbone cannot go without its own pooling, or has no token for `token`.
    """
    if pool != "auto":
        try:
            backbone.without_pooling()
        except ValueError as error:
            raise UserError(f"embedding.pool: {pool}: {error}") from None
    if pool == "token" and not backbone.prefix_tokens:
        raise UserError(f"embedding.pool: token: {backbone.name} has no class or register token: write avg, or gem")
    return Pooling(pool, backbone.prefix_tokens)
