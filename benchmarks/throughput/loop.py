"""A training loop as the authors' run.py has it: what both sides are that ours is compared with."""

import torch
from torch import Tensor, nn

from mdr_tune.data import BatchSampler
from mdr_tune.data.augmentations.affine import augment_affine, draw_affine_params
from throughput.sides import IMAGES_PER_CLASS, LEARNING_RATE, LEVEL_DECAY, MDR_WEIGHT, Setting


class LoopSide:
    """Network, triplet loss and MDR, with Adam as it comes; both losses are read in each step, for a progress bar.

    Args:
        setting: What is trained.
        iterations: Steps of a round.
        net: From augmented images (n, C, H, W), on the device, to raw embeddings (n, D) float32.
        criterion: From embeddings and labels to the triplet loss.
        mdr: From embeddings to MDR; its parameters have the levels as `levels`.
    """

    def __init__(self, setting: Setting, iterations: int, net: nn.Module, criterion: nn.Module, mdr: nn.Module) -> None:
        self.net, self._criterion, self._mdr = (module.to(setting.device) for module in (net, criterion, mdr))
        groups = [{"lr": LEARNING_RATE, "params": list(module.parameters())} for module in (net, criterion, mdr)]
        groups = [group for group in groups if group["params"]]
        self._optimizer = torch.optim.Adam(groups, weight_decay=1e-5)
        self._split, self._iterations, self._epoch = setting.images(), iterations, 0
        self._batches = BatchSampler(self._split.labels, setting.batch_size, IMAGES_PER_CLASS, seed=0)
        self._device, self._augments = setting.device, setting.augments
        images = self._split.images
        self._images = images[torch.arange(len(images))].to(setting.device) if setting.is_head_only else images

    def prepare(self, images: Tensor) -> Tensor:
        """Return what `net` takes of augmented images."""
        return images

    def embed(self, images: Tensor) -> Tensor:
        """Return raw embeddings (n, D) float32 of what `prepare` returned."""
        embeddings: Tensor = self.net(images)
        return embeddings

    def run_round(self) -> float:
        """Train some steps; returns their mean loss without MDR."""
        self.net.train()
        for layer in self.net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        batches = self._batches.epoch_batches(self._epoch, self._iterations)
        losses = [self._step(number, indices) for number, indices in enumerate(batches)]
        self._epoch += 1
        return sum(losses) / len(losses)

    def _step(self, number: int, indices: Tensor) -> float:
        images, labels = self._images[indices], self._split.labels[indices].to(self._device)
        if self._augments:
            images = augment_affine(images, draw_affine_params(len(indices), 0, self._epoch, number))
        embeddings = self.embed(self.prepare(images))
        loss = self._criterion(embeddings, labels)
        regularizer = MDR_WEIGHT * self._mdr(embeddings) + LEVEL_DECAY * self._mdr.get_parameter("levels").pow(2).sum()
        self._optimizer.zero_grad()
        (loss + regularizer).backward()
        self._optimizer.step()
        value: float = loss.item()
        regularizer.item()
        return value
