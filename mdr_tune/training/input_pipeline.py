"""Turn the indices of a global batch into this rank's augmented images on its device. Batches are read ahead."""

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
from mdr_tune.training.fixed_views import FixedViews
from mdr_tune.training.ranks import Ranks


class InputBatch(NamedTuple):
    """Input of one training step, on the rank's device.

    Attributes:
        images: (n, C, H, W) uint8, or float32 in 0..255: this rank's slice of the global batch, augmented.
        labels: labels of the whole global batch, B images.
    """

    images: torch.Tensor
    labels: BatchLabels


class _Read(NamedTuple):
    """A batch from the background thread: augmented for a CPU; in pinned memory and not yet augmented for a GPU."""

    images: torch.Tensor  # (n, C, H, W)
    params: torch.Tensor  # (n, k)
    labels: BatchLabels  # of B images


class InputPipeline:
    """Read and augment the batches of one rank.

    The images depend only on the split, the augmentation, the seed and the batches, not on how many batches are read
    ahead. For any number of ranks, the slices of all ranks make up the same global batch.

    For a CPU, a background thread reads and augments. For a GPU, the background thread reads into pinned memory; the
    calling thread sends the batch to the GPU and augments it there, without waiting for the GPU. The copy has a stream
    of its own, so that it runs while the previous step computes. `BatchLabels` are made in the background too.

    Vectors are not read ahead for a CPU: their read takes less time than the background thread costs.

    Args:
        split: The images to train on.
        augmentation: The augmentation of the images. ValueError if its crop is larger than the images.
        seed: Seed of the trial.
        ranks: Rank and device of this process.
        prefetch_batches: Greatest number of batches that are read ahead; 0 reads each batch when it is asked for.
        views: Views that the images are seen in; None: the augmentation changes an image anew in each step.
    """

    def __init__(
        self,
        split: ImageSplit,
        augmentation: Augmentation,
        seed: int,
        ranks: Ranks,
        prefetch_batches: int = 2,
        views: FixedViews | None = None,
    ) -> None:
        self._views = views
        self._split, self._augmentation, self._seed, self._ranks = split, augmentation, seed, ranks
        self._stored_shape = tuple(split.images.shape[1:])  # (C, H, W)
        are_vectors = split.images.dtype != torch.uint8
        self._prefetch_batches = 0 if are_vectors and ranks.device.type == "cpu" else prefetch_batches
        self._copies = torch.cuda.Stream(ranks.device) if ranks.device.type == "cuda" else None
        self.image_shape = (self._stored_shape[0], *augmentation.output_size(self._stored_shape))
        """(C, H, W) of the images that `epoch` yields."""

    def epoch(self, epoch: int, batches: torch.Tensor) -> Generator[InputBatch, None, None]:
        """Yield the input of each step of the epoch number `epoch`, from 0.

        `batches` (steps, B) int64 are indices of images in the split. The background thread ends when the last batch is
        taken, or when the generator is closed. Leaving a `for` loop over the generator closes it.
        """
        read = partial(self._read, epoch)
        with closing(prefetch(read, enumerate(batches), self._prefetch_batches)) as reads:
            for images, params, labels in reads:
                yield self._on_device(images, params, labels)

    def _read(self, epoch: int, numbered: tuple[int, torch.Tensor]) -> _Read:
        """Read this rank's images of a batch of `epoch`. `numbered` is the step's number and the image indices (B,)."""
        step, indices = numbered
        mine = shard_slice(len(indices), self._ranks.world_size, self._ranks.rank)
        labels = BatchLabels.of(self._split.labels[indices])
        images, params = self._images(epoch, step, indices, mine)
        if self._ranks.device.type != "cuda":
            return _Read(self._augmentation(images, params), params, labels)
        # A new thread's current device is GPU 0, where it would open a context.
        with torch.cuda.device(self._ranks.device):
            return _Read(_pin(images), _pin(params), labels.map(_pin))

    def _images(self, epoch: int, step: int, indices: torch.Tensor, mine: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images at `indices[mine]` of the split, and the random numbers (n, k) of their augmentation."""
        if self._views is None:
            params = self._augmentation.draw(len(indices), self._stored_shape, self._seed, epoch, step)[mine]
            return self._split.images[indices[mine]], params
        views = self._views.draw(len(indices), self._seed, epoch, step)[mine]
        if self._split.images.dtype == torch.uint8:
            return self._split.images[indices[mine]], self._views.parameters(indices[mine], views)
        rows = views * (len(self._split) // self._views.count) + indices[mine]  # features of the images of a view
        return self._split.images[rows], torch.empty(len(rows), 0)

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
    """Keep the memory of `tensor` from being reused before `stream` is done with it; return the tensor."""
    tensor.record_stream(stream)
    return tensor


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy of a CPU `tensor` in pinned memory; a tensor that is on a GPU already is returned as it is."""
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor
