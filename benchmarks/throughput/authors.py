"""The training step of the authors' run.py, composed of their classes; sys.path must have their checkout."""

import importlib
from typing import Any

import torch
from torch import nn

from mdr_tune.backbones import build_backbone
from mdr_tune.data import BatchSampler
from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params
from throughput.sides import (
    IMAGES_PER_CLASS,
    LEARNING_RATE,
    LEVEL_DECAY,
    MDR_WEIGHT,
    Setting,
    set_batch_norm_statistics,
)

_CLASSES = {"bn_inception": "BNInception", "resnet18": "ResNet18", "resnet50": "ResNet50"}


def has_backbone(name: str) -> bool:
    """Return whether their code has this network."""
    return name in _CLASSES


class AuthorsSide:
    """Their model, distance-weighted sampler, triplet loss and MDR, with Adam as their run.py makes it."""

    def __init__(self, setting: Setting, iterations: int) -> None:
        theirs = {name: importlib.import_module(name) for name in ("model.backbone", "model.embedding", "metric.loss")}
        sampler = importlib.import_module("metric.pairsampler").DistanceWeighted()
        self._fix_batchnorm = importlib.import_module("utils.common").fix_batchnorm
        base = getattr(theirs["model.backbone"], _CLASSES[setting.backbone])(pretrained=False)
        embedding_class = theirs["model.embedding"].Embedding
        self.net = embedding_class(base, base.output_size, setting.embedding_size).to(setting.device)
        if setting.precision == "bf16":
            _autocast(base, setting.device)
        self._criterion = theirs["metric.loss"].TripletLoss(sampler=sampler, margin=0.2).to(setting.device)
        self._mdr = theirs["metric.loss"].MDRLoss().to(setting.device)
        modules = (self.net, self._criterion, self._mdr)
        groups = [{"lr": LEARNING_RATE, "params": list(module.parameters())} for module in modules]
        self._optimizer = torch.optim.Adam(groups, weight_decay=1e-5)
        self._split, self._iterations, self._epoch = setting.images(), iterations, 0
        self._batches = BatchSampler(self._split.labels, setting.batch_size, IMAGES_PER_CLASS, seed=0)
        self._normalize = build_backbone(setting.backbone).to(setting.device).normalize
        set_batch_norm_statistics(self.net, self._normalize(self._split.images[torch.arange(setting.batch_size)]))

    def run_round(self) -> float:
        """Train some steps; returns their mean loss without MDR."""
        self.net.train()
        self._fix_batchnorm(self.net)
        batches = self._batches.epoch_batches(self._epoch, self._iterations)
        losses = [self._step(number, indices) for number, indices in enumerate(batches)]
        self._epoch += 1
        return sum(losses) / len(losses)

    def _step(self, number: int, indices: torch.Tensor) -> float:
        params = draw_affine_params(len(indices), 0, self._epoch, number)
        images = self._normalize(augment_affine(self._split.images[indices], params))
        labels = self._split.labels[indices]
        embedding = self.net(images)
        loss = self._criterion(embedding, labels)
        regularizer = MDR_WEIGHT * self._mdr(embedding) + LEVEL_DECAY * self._mdr.levels.pow(2).sum()
        self._optimizer.zero_grad()
        (loss + regularizer).backward()
        self._optimizer.step()
        value: float = loss.item()  # both are read in each step, for the progress bar
        regularizer.item()
        return value


def _autocast(base: nn.Module, device: torch.device) -> None:
    """Make a backbone compute in bfloat16 where autocast does, and return float32."""
    forward = base.forward

    def in_bfloat16(images: torch.Tensor) -> Any:
        with torch.autocast(device.type, torch.bfloat16):
            features = forward(images)
        return features.float()

    base.forward = in_bfloat16
