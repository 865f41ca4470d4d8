"""From the indices of a global batch to this rank's augmented images, on its device, read ahead in the background."""

from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import NamedTuple

import torch

from mdr_tune.data.augmentations.augmentation import Augmentation
from mdr_tune.data.dataset import ImageSplit
from mdr_tune.data.prefetch import prefetch
from mdr_tune.metric import BatchLabels, shard_slice
from mdr_tune.metric.transfer import send
from mdr_tune.training.ranks import Ranks


class InputBatch(NamedTuple):
    """One step's input, on the rank's device.

    Attributes:
        images: (n, C, H, W) uint8, or float32 in 0..255: this rank's slice of the global batch, augmented.
        labels: of the whole global batch, B images.
    """

    images: torch.Tensor
    labels: BatchLabels


class _Read(NamedTuple):
    """What comes from the background: on a CPU ready for use, for a GPU unchanged images in pinned memory."""

    images: torch.Tensor  # (n, C, H, W)
    params: torch.Tensor  # (n, k)
    labels: BatchLabels  # of B images


class InputPipeline:
    """Reads and augments the batches of one rank.

    The numbers follow from the split, the augmentation, the seed and the batches; how far it reads ahead changes
    nothing, and the slices of any number of ranks make up the same global batch.

    On a CPU a background thread reads and augments. For a GPU it reads into pinned memory, and the calling thread sends
    the batch off and augments it there, without waiting for the device. The copy has a stream of its own, so that it
    runs while the step before computes. What follows from the labels is worked out in the background too.

    Args:
        split: What is trained on.
        augmentation: What happens to its images.
        seed: The trial's.
        ranks: Where this process stands, and its device.
        prefetch_batches: How many batches are read ahead, at most; 0 reads each as it is asked for.

    Raises:
        ValueError: The augmentation crops more than the images have.
    """

    def __init__(
        self, split: ImageSplit, augmentation: Augmentation, seed: int, ranks: Ranks, prefetch_batches: int = 2
    ) -> None:
        self._split, self._augmentation, self._seed, self._ranks = split, augmentation, seed, ranks
        self._stored_shape = tuple(split.images.shape[1:])  # (C, H, W)
        self._prefetch_batches = prefetch_batches
        self._copies = torch.cuda.Stream(ranks.device) if ranks.device.type == "cuda" else None
        self.image_shape = (self._stored_shape[0], *augmentation.output_size(self._stored_shape))
        """(C, H, W) of what `epoch` yields."""

    def epoch(self, epoch: int, batches: torch.Tensor) -> Generator[InputBatch, None, None]:
        """Yield the input of each step of an epoch.

        The background thread has ended when the last batch was taken, or the generator is closed (leaving a `for`
        loop over it is enough).

        Args:
            epoch: From 0.
            batches: (steps, B) int64, image indices into the split.
        """
        read = partial(self._read, epoch)
        with closing(prefetch(read, enumerate(batches), self._prefetch_batches)) as reads:
            for images, params, labels in reads:
                yield self._on_device(images, params, labels)

    def _read(self, epoch: int, numbered: tuple[int, torch.Tensor]) -> _Read:
        """Read this rank's images of the batch `numbered`, its number and its indices (B,)."""
        step, indices = numbered
        mine = shard_slice(len(indices), self._ranks.world_size, self._ranks.rank)
        images = self._split.images[indices[mine]]
        params = self._augmentation.draw(len(indices), self._stored_shape, self._seed, epoch, step)[mine]
        labels = BatchLabels.of(self._split.labels[indices])
        if self._ranks.device.type != "cuda":
            return _Read(self._augmentation(images, params), params, labels)
        # A thread starts out with GPU 0 as its current device, and would open a context there.
        with torch.cuda.device(self._ranks.device):
            return _Read(_pin(images), _pin(params), labels.map(_pin))

    def _on_device(self, images: torch.Tensor, params: torch.Tensor, labels: BatchLabels) -> InputBatch:
        if self._copies is None:
            return InputBatch(images, labels)
        device = self._ranks.device
        here = torch.cuda.current_stream(device)
        with torch.cuda.stream(self._copies):
            images = images.to(device, non_blocking=True)
            labels = labels.map(lambda tensor: send(tensor, device))
        here.wait_stream(self._copies)
        _keep_for(here, images)
        return InputBatch(self._augmentation(images, params), labels.map(partial(_keep_for, here)))


def _keep_for(stream: torch.cuda.Stream, tensor: torch.Tensor) -> torch.Tensor:
    """Have the memory of a tensor given away again only when `stream` is done with it."""
    tensor.record_stream(stream)
    return tensor


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy in pinned memory; of a split that is on the GPU already, the tensor itself."""
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor
