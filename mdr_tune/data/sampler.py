"""The batch sampler. It draws *global* batches, and each rank uses its own slice of them."""

import numpy as np
import torch

from mdr_tune.data.outline import why_unfillable
from mdr_tune.data.seeding import derive_seed


class BatchSampler:
    """Draws batches of a few images from each of many classes, as the authors of MDR do.

    For each batch, the classes are put in random order. From one class after the other, `images_per_class` images (or
    all, if the class has fewer) are drawn without replacement, until the batch is full. Images beyond `batch_size` are
    cut off, so the last class may give fewer. No class is drawn twice for one batch. Batches are independent.

    One generator, seeded with `derive_seed("sampler", seed, epoch)`, draws all batches of an epoch. So batches depend
    neither on the number of ranks nor on earlier epochs, and the first batches stay the same if more are drawn.

    Source: the sampler of the authors' code for Kim & Park, AAAI 2021 (arXiv 2102.04223).

    Args:
        labels: (n,) integers, the class of each image.
        batch_size: number of images in the global batch.
        images_per_class: number of images drawn from each class, at least 2, so that there are positive pairs.
        seed: the trial's seed.

    Raises:
        ValueError: a number is out of range, or a batch cannot be filled when each class is drawn at most once.

    Example:
        >>> labels = torch.arange(10).repeat_interleave(6)
        >>> sampler = BatchSampler(labels, batch_size=8, images_per_class=4, seed=0)
        >>> sampler.epoch_batches(epoch=0, num_batches=3).shape
        torch.Size([3, 8])
    """

    def __init__(self, labels: torch.Tensor, batch_size: int, images_per_class: int, seed: int) -> None:
        if labels.ndim != 1 or labels.is_floating_point():
            raise ValueError(f"labels must be (n,) integers, got {labels.dtype} {tuple(labels.shape)}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        if images_per_class < 2:
            raise ValueError(
                f"images_per_class must be at least 2, got {images_per_class}: with one image a class "
                "there is no positive pair to learn from"
            )
        class_of_image = labels.cpu().numpy()
        self._images_by_class = np.argsort(class_of_image, kind="stable")  # (n,) image ids, class by class
        _, self._starts, counts = np.unique(
            class_of_image[self._images_by_class], return_index=True, return_counts=True
        )
        self._counts = counts
        self._takes = np.minimum(counts, images_per_class)  # images that a class contributes to a batch
        if problem := why_unfillable(counts.tolist(), batch_size, images_per_class):
            raise ValueError(problem)
        self.batch_size = batch_size
        self.images_per_class = images_per_class
        self.seed = seed

    def epoch_batches(self, epoch: int, num_batches: int) -> torch.Tensor:
        """Return the image indices of `num_batches` batches of `epoch` (from 0), (num_batches, batch_size) int64."""
        if epoch < 0 or num_batches < 0:
            raise ValueError(f"epoch and num_batches must not be negative, got {epoch} and {num_batches}")
        generator = np.random.default_rng(derive_seed("sampler", self.seed, epoch))
        batches = np.empty((num_batches, self.batch_size), dtype=np.int64)
        for row in batches:
            row[:] = self._draw_batch(generator)
        return torch.from_numpy(batches)

    def _draw_batch(self, generator: np.random.Generator) -> np.ndarray:
        """Return the indices of the images of one batch, (batch_size,), class after class, drawn with `generator`."""
        classes = generator.permutation(len(self._counts))
        filled = np.cumsum(self._takes[classes])
        classes = classes[: int(np.searchsorted(filled, self.batch_size)) + 1]  # k classes fill the batch
        counts, takes = self._counts[classes], self._takes[classes]
        # Each image gets a random key. The images with the smallest keys of a class are a draw without replacement.
        keys = generator.random((len(classes), int(counts.max())))  # (k, images of the largest class)
        keys[np.arange(keys.shape[1]) >= counts[:, None]] = np.inf
        most = int(takes.max())
        chosen = np.argsort(keys, axis=1)[:, :most]  # (k, m) position within the class
        image_ids: np.ndarray = self._images_by_class[
            np.minimum(self._starts[classes, None] + chosen, len(self._images_by_class) - 1)
        ]
        batch: np.ndarray = image_ids[np.arange(most) < takes[:, None]][: self.batch_size]
        return batch
