"""The model that is trained, checkpointed and registered: normalisation, backbone, embedding layer."""

import torch
from torch import nn

from mdr_tune.backbones import Backbone, build_backbone
from mdr_tune.backbones.identity import Identity
from mdr_tune.config.trial import TrialConfig
from mdr_tune.metric import EmbeddingMode, apply_test_mode

ImageShape = tuple[int, int, int]
"""Number of channels, height and width of an image, (C, H, W)."""


class EmbeddingModel(nn.Module):
    """Network from images to embeddings.

    Args:
        backbone: The network before the embedding layer.
        size: Length of an embedding, D.
        mode: `l2` puts embeddings on the unit sphere; `rescale` and `none` leave them as they are in evaluation.
        channels_last: Whether images and convolutions have the memory layout "channels last", usually the faster one.
    """

    def __init__(self, backbone: Backbone, size: int, mode: EmbeddingMode, channels_last: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.linear = nn.Linear(backbone.feature_size, size)
        self.mode: EmbeddingMode = mode
        self.takes_images = not isinstance(backbone, Identity)
        """False if the model takes vectors."""
        laid_out_last = channels_last and self.takes_images
        self._memory_format = torch.channels_last if laid_out_last else torch.contiguous_format
        self.to(memory_format=self._memory_format)

    @classmethod
    def from_config(
        cls, config: TrialConfig, pretrained: bool = True, image_size: int | None = None
    ) -> "EmbeddingModel":
        """Build the model of `config`, with `pretrained` weights (UserError if there are none) or randomly drawn ones.

        Use False if a checkpoint is loaded next. Weights are drawn from torch's global generator.
        """
        backbone = build_backbone(
            config.backbone.name,
            config.backbone.weights,
            load=pretrained,
            image_size=image_size,
            arguments=config.backbone.arguments,
        )
        return cls(backbone, config.embedding.size, config.embedding_mode, config.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed `images` (n, C, H, W), uint8 or float in 0..255, grey or RGB, of a size that the backbone takes.

        Returns:
            (n, D). In training mode, the raw output of the linear layer; `apply_embedding_mode` needs the global batch,
            and is applied after the gather. In eval mode, the embeddings that retrieval compares by Euclidean distance.
        """
        normalized = self.backbone.normalize(images).to(self.linear.weight.dtype, memory_format=self._memory_format)
        embeddings: torch.Tensor = self.linear(self.backbone(normalized).flatten(1))
        return embeddings if self.training else apply_test_mode(embeddings, self.mode)
