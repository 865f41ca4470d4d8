"""The model that is searched, checkpointed and registered: normalisation, backbone, embedding layer."""

import torch
from torch import nn

from mdr_tune.backbones import build_backbone
from mdr_tune.config.trial import TrialConfig
from mdr_tune.metric import EmbeddingMode, apply_test_mode


class EmbeddingModel(nn.Module):
    """Images in, embeddings out.

    Args:
        backbone: Name of the backbone.
        size: Length of an embedding, D.
        mode: `l2` puts embeddings on the unit sphere; `rescale` and `none` leave them raw at test time.
    """

    def __init__(self, backbone: str, size: int, mode: EmbeddingMode) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.linear = nn.Linear(self.backbone.feature_size, size)
        self.mode: EmbeddingMode = mode

    @classmethod
    def from_config(cls, config: TrialConfig) -> "EmbeddingModel":
        """Build the model of a trial; weights come from torch's global generator. Channels last is faster."""
        model = cls(config.backbone, config.embedding.size, config.embedding.mode)
        return model.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed images.

        Args:
            images: (n, C, H, W), uint8 or float in 0..255, of the backbone's channels and size.

        Returns:
            (n, D). In training mode the raw output of the linear layer: the training transform spans the global batch
            and is applied after the gather. In eval mode what retrieval compares by Euclidean distance.
        """
        normalized = self.backbone.normalize(images).to(self.linear.weight.dtype, memory_format=torch.channels_last)
        embeddings: torch.Tensor = self.linear(self.backbone(normalized).flatten(1))
        return embeddings if self.training else apply_test_mode(embeddings, self.mode)
