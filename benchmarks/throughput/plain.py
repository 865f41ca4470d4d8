"""The method written down plainly: the formulas as they read, left to autograd, in a loop as it is usually written."""

import torch
from regularizer_speed.textbook import TextbookMDR, distances_of, textbook_triplet_loss
from torch import Tensor, nn

from mdr_tune.training import EmbeddingModel
from throughput.loop import LoopSide
from throughput.sides import FEATURE_SIZE, Setting, set_batch_norm_statistics


class PlainSide(LoopSide):
    """The same network in torch's usual memory layout, autocast around it for bf16, and the formulas as written."""

    def __init__(self, setting: Setting, iterations: int) -> None:
        torch.manual_seed(0)
        size = FEATURE_SIZE if setting.is_head_only else setting.image_size
        config = setting.config(iterations).model_copy(update={"channels_last": False})
        net = EmbeddingModel.from_config(config, image_size=size)
        super().__init__(setting, iterations, net, _TripletLoss(), TextbookMDR())
        self._autocast = setting.precision == "bf16"
        set_batch_norm_statistics(self.net, self._split.images[torch.arange(setting.batch_size)])

    def embed(self, images: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            embeddings: Tensor = self.net(images)
        embeddings, count = embeddings.float(), len(embeddings)
        return embeddings / (distances_of(embeddings).sum() / (count * (count - 1)))  # the mode rescale


class _TripletLoss(nn.Module):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return textbook_triplet_loss(embeddings, labels)
