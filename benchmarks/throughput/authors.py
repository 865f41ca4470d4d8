"""The training step of the authors' run.py, composed of their classes; sys.path must have their checkout."""

import importlib
from typing import Any

import torch
from torch import nn

from mdr_tune.backbones import build_backbone
from throughput.loop import LoopSide
from throughput.sides import Setting, set_batch_norm_statistics

_CLASSES = {"bn_inception": "BNInception", "resnet18": "ResNet18", "resnet50": "ResNet50"}


def has_backbone(name: str) -> bool:
    """Return whether their code has this network."""
    return name in _CLASSES


class AuthorsSide(LoopSide):
    """Their model, distance-weighted sampler, triplet loss and MDR, with Adam as their run.py makes it."""

    def __init__(self, setting: Setting, iterations: int) -> None:
        theirs = {name: importlib.import_module(name) for name in ("model.backbone", "model.embedding", "metric.loss")}
        sampler = importlib.import_module("metric.pairsampler").DistanceWeighted()
        base = getattr(theirs["model.backbone"], _CLASSES[setting.backbone])(pretrained=False)
        net = theirs["model.embedding"].Embedding(base, base.output_size, setting.embedding_size)
        criterion = theirs["metric.loss"].TripletLoss(sampler=sampler, margin=0.2)
        super().__init__(setting, iterations, net, criterion, theirs["metric.loss"].MDRLoss())
        if setting.precision == "bf16":
            _autocast(base, setting.device)
        self._normalize = build_backbone(setting.backbone).to(setting.device).normalize
        set_batch_norm_statistics(self.net, self.prepare(self._split.images[torch.arange(setting.batch_size)]))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalised images: run.py leaves it to the workers of a DataLoader."""
        return self._normalize(images)


def _autocast(base: nn.Module, device: torch.device) -> None:
    """Make a backbone compute in bfloat16 where autocast does, and return float32."""
    forward = base.forward

    def in_bfloat16(images: torch.Tensor) -> Any:
        with torch.autocast(device.type, torch.bfloat16):
            features = forward(images)
        return features.float()

    base.forward = in_bfloat16
