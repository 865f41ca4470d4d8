"""The model that is trained, checkpointed and registered: normalisation, backbone, pooling, head."""

from typing import Literal

import torch
from torch import nn

from mdr_tune.backbones import Backbone, build_backbone
from mdr_tune.backbones.hidden_layers import hidden_layers
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
        head: `linear`; `identity`, the features are the embeddings; or the settings of the hidden layers.

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
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self._memory_format)

    @classmethod
    def from_config(cls, config: TrialConfig, pretrained: bool = True) -> "EmbeddingModel":
        """Build the model of `config`, with `pretrained` weights (UserError if there are none) or randomly drawn ones.

        Use False if a checkpoint is loaded next. Weights are drawn from torch's global generator.
        """
        backbone = build_backbone(
            config.backbone.name,
            config.backbone.weights,
            load=pretrained,
            image_size=config.data.input_shape[-1],
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

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed `images` (n, C, H, W), uint8 or float in 0..255, grey or RGB, of a size that the backbone takes.

        Returns:
            (n, D). In training mode, the raw output of the linear layer; `apply_embedding_mode` needs the global batch,
            and is applied after the gather. In eval mode, the embeddings that retrieval compares by Euclidean distance.
        """
        normalized = self.backbone.normalize(images).to(self.dtype, memory_format=self._memory_format)
        embeddings: torch.Tensor = self.linear(self.hidden(self.pool(self.backbone(normalized))))
        return embeddings if self.training else apply_test_mode(embeddings, self.mode)


def make_pooling(backbone: Backbone, pool: Pool) -> Pooling:
    """Return the `pool` for the output of `backbone`, whose own pooling is removed unless `pool` is `auto`.

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
