"""Compute the features of a frozen backbone once, and keep them in a file that all processes of a machine map.

A trial that trains the head alone then reads features in place of images, and takes seconds. The file is found by all
that the features depend on: content of the images, network, weights, size of the images, views, precision.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.data.dataset import ImageSplit
from mdr_tune.data.vectors import Vectors, write_vectors
from mdr_tune.metric.full_precision import full_float32
from mdr_tune.training.fixed_views import FixedViews
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.util.cache_folder import cache_dir, locked
from mdr_tune.util.disk_space import check_free
from mdr_tune.util.files import atomic_write
from mdr_tune.util.import_path import is_import_path
from mdr_tune.util.user_code import content_of, imported_hashes

logger = logging.getLogger(__name__)

FOLDER = "features"
"""Name of the folder of the files within the cache folder."""
VERSION = 1  # raise it whenever the features change
BLOCK, BATCH = 512, 64
"""Number of images whose features are kept in a file of their own until all are there; number of them in a batch."""


class FrozenFeatures:
    """Replaces the images of splits by their features.

    Several processes that need the same features share the work by blocks. A block that a process has computed is on
    the disk, so that a process that is started again goes on there.

    Args:
        model: the model, whose backbone is frozen, on the device to compute on.
        config: configuration of the trial.
        content: hash of the images and splits of the data set.
        views: views of the training images; None: each image has one, the one that an evaluation sees.
        autocast: type of the network's numbers in training; None: those of the model.
        on_batch: called after each batch that this process has computed.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        config: TrialConfig,
        content: str,
        views: FixedViews | None,
        autocast: torch.dtype | None,
        on_batch: Callable[[], None],
    ) -> None:
        self._model, self._config, self._views, self._autocast = model, config, views, autocast
        self._on_batch = on_batch
        self._image_size = config.data.chosen_image_size
        device = next(model.parameters()).device  # the backbone may have none
        self._device = device
        self._known = [VERSION, content, config.backbone.name, config.backbone.arguments, config.embedding.pool]
        files = imported_hashes() if is_import_path(config.backbone.name) else {}
        code = content_of(files) if files else None
        self._known += [self._image_size, device.type, torch.__version__, _fingerprint(model), code]

    def training(self, split: ImageSplit) -> ImageSplit:
        """Return `split`, n training images, with the features of all V views: n of the first view, then n of the next.

        The labels are repeated as well, (n * V,).
        """
        views = 1 if self._views is None else self._views.count
        how = None if self._views is None else self._config.chosen_augmentation.model_dump()
        vectors = self._vectors(["training", views, how, str(self._autocast)], split, views, training=True)
        return replace(split, images=vectors, labels=split.labels.repeat(views))

    def evaluation(self, split: ImageSplit, name: str) -> ImageSplit:
        """Return the split `name` of an evaluation with features; `pictures` has the images."""
        gallery = None if split.gallery is None else self.evaluation(split.gallery, f"{name} gallery")
        vectors = self._vectors(["evaluation", name], split, 1, training=False)
        return ImageSplit(vectors, split.labels, gallery, pictures=split.images)

    def _vectors(self, purpose: list[object], split: ImageSplit, views: int, training: bool) -> Vectors:
        count = len(split.images) * views
        text = json.dumps([*self._known, *purpose, count], sort_keys=True)
        folder = cache_dir() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}.npy"
        if not target.exists():
            self._make(target, split, views, training)
        return Vectors(target)

    def _make(self, target: Path, split: ImageSplit, views: int, training: bool) -> None:
        self._model.backbone.eval()  # an evaluation puts the whole model back into its mode of training
        count = len(split.images) * views
        parts = target.with_suffix(".parts")
        size = self._compute(split, slice(0, 1), training).shape[1]
        check_free(target.parent, 2 * count * size * 4, f"for the features of {count:,} images")
        parts.mkdir(exist_ok=True)
        blocks = [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
        files = [parts / f"{block.start}.npy" for block in blocks]
        for waits in (False, True):  # first what no other process is at, then what those have left that were ended
            for block, file in zip(blocks, files, strict=True):
                if target.exists():
                    return
                with _claimed(file, waits) as is_mine:
                    if is_mine and not file.exists() and not target.exists():
                        _write(file, self._compute(split, block, training))
        with locked(target):
            if not target.exists():
                write_vectors(target, count, size, map(np.load, files))
                shutil.rmtree(parts, ignore_errors=True)

    def _compute(self, split: ImageSplit, rows: slice, training: bool) -> np.ndarray:
        """Return the features (m, F) of the `rows` of `split`; a row above its n images is one of a later view."""
        batches = torch.arange(rows.start, rows.stop).split(BATCH)
        return np.concatenate([self._batch(split, numbers, training) for numbers in batches])

    @torch.no_grad()
    def _batch(self, split: ImageSplit, numbers: torch.Tensor, training: bool) -> np.ndarray:
        count = len(split.images)
        indices, views = numbers % count, numbers // count
        images = split.images[indices].to(self._device)
        if training and self._views is not None:
            images = self._views.see(images, indices, views)
        elif self._image_size is not None:
            images = center_crop(images, self._image_size)
        autocast = self._autocast if training else None
        with contextlib.ExitStack() as stack:
            if not training:
                stack.enter_context(full_float32(self._device.type))
            stack.enter_context(torch.autocast(self._device.type, autocast, enabled=autocast is not None))
            features = self._model.features(images)
        self._on_batch()
        return features.float().cpu().numpy()


def _fingerprint(model: EmbeddingModel) -> str:
    """Return a hash of all numbers of the backbone, with their names."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.backbone.state_dict().items()):
        numbers = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(numbers.view(torch.uint8).numpy().data if numbers.ndim else numbers.numpy().tobytes())
    return digest.hexdigest()


def _write(file: Path, features: np.ndarray) -> None:
    with atomic_write(file) as opened:
        np.save(opened, features, allow_pickle=False)


@contextlib.contextmanager
def _claimed(file: Path, waits: bool) -> Iterator[bool]:
    """Hold the lock of a block's `file`, and yield True. If another process has it, wait for it, or yield False.

    The kernel releases the lock of a process that ends. `file`'s folder is gone once the whole is there.
    """
    try:
        opened = file.with_suffix(".lock").open("ab")
    except FileNotFoundError:
        yield False
        return
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
