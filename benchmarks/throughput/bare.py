"""The step that ours takes, in bare PyTorch: modules of torch and timm in a loop, with the same losses and miner.

Both sides draw the same batches, augmentations and negatives, so that they compute the same losses.
"""

import timm
import torch
from torch import Tensor, nn

from mdr_tune.data.seeding import derive_seed
from mdr_tune.metric import BatchLabels, DistanceWeightedMiner, MDRLoss, TripletLoss, apply_embedding_mode
from throughput.loop import LoopSide
from throughput.sides import FEATURE_SIZE, FEATURES, HIDDEN, Setting

TIMM = "timm."


def has_network(name: str) -> bool:
    """Return whether this side has a network: the head alone, and timm's models."""
    return name == FEATURES or name.startswith(TIMM)


class BareSide(LoopSide):
    """A network without any class of `mdr_tune`; the losses are those of `mdr_tune.metric`."""

    def __init__(self, setting: Setting, iterations: int) -> None:
        torch.manual_seed(0)
        layers, size = _head_layers() if setting.is_head_only else _network_of_timm(setting)
        net = nn.Sequential(*layers, nn.Linear(size, setting.embedding_size))
        super().__init__(setting, iterations, net, _Triplets(), MDRLoss())
        self._autocast = setting.precision == "bf16"

    def embed(self, images: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            embeddings = self.net(images)
        return apply_embedding_mode(embeddings.float(), "rescale")


def _head_layers() -> tuple[list[nn.Module], int]:
    return [nn.Flatten(), nn.Linear(FEATURE_SIZE, HIDDEN), nn.LayerNorm(HIDDEN), nn.ReLU()], HIDDEN


def _network_of_timm(setting: Setting) -> tuple[list[nn.Module], int]:
    network = timm.create_model(setting.backbone.removeprefix(TIMM), num_classes=0, img_size=setting.image_size)
    return [_Normalize(network.default_cfg["mean"], network.default_cfg["std"]), network], network.num_features


class _Normalize(nn.Module):
    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images / 255 - self.get_buffer("mean")) / self.get_buffer("std")


class _Triplets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._mine, self._loss = DistanceWeightedMiner(), TripletLoss(margin=0.2)
        self._generator = torch.Generator().manual_seed(derive_seed("miner", 0))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        known = BatchLabels.of(labels.cpu()).map(lambda tensor: tensor.to(embeddings.device))
        mined = self._mine(embeddings, known, self._generator)
        loss: Tensor = self._loss(embeddings, known, mined, self._generator)
        return loss
