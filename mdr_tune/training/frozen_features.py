"""Compute the features of a frozen backbone once, and keep them in a file that all processes of a machine map.

A trial that trains the head alone then reads features in place of images, and takes seconds. The file's name is a hash
of all that the features depend on: content of the images, how they are resized, network, weights, views, precision,
versions of libraries.

On a CPU, kept features are bit-identical to features that each step computes, if torch's kernels compute an image alike
in a batch of any size. For some networks, such as timm.resnet10t, they are equal up to rounding.

A user's own network may depend on more than can be known, such as tensors outside of its state dict, or files that it
reads. So the features of the first images are computed anew whenever a file of kept features is opened. If they differ
from those in the file, the file is of another network, and this network gets a file of its own. A hash of the rounded
features cannot name the files: in batches of different sizes, a number may be rounded up once and down once.
"""

import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdr_tune.backbones.families import family_of
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.data.dataset import ImageSplit
from mdr_tune.data.images.abandoned import remove_abandoned
from mdr_tune.data.kept_features import FOLDER, about_file
from mdr_tune.data.vectors import Vectors, write_vectors
from mdr_tune.metric.full_precision import full_float32
from mdr_tune.records.provenance import packages_of, version_of
from mdr_tune.training.fixed_views import FixedViews
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.util.cache_folder import cache_dir, locked
from mdr_tune.util.disk_space import check_free, is_full
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write
from mdr_tune.util.import_path import is_import_path
from mdr_tune.util.progress import Progress, no_progress
from mdr_tune.util.user_code import content_of, imported_hashes

logger = logging.getLogger(__name__)

VERSION = 1  # raise it whenever the features change
BLOCK, BATCH = 512, 64
"""Number of images in a block, whose features are in a file of their own until all are there; and in a batch."""
PROBE = 4
"""Number of images whose features tell two networks of the user's apart."""
MOST_NETWORKS = 8
"""Largest number of files for the same images and settings, of user's networks that only the features tell apart. A
further file replaces the oldest. The bound is for a network that gives other features each time."""
_ROUNDING, _COARSE_ROUNDING = 1e-3, 5e-2
"""Largest difference of the features of one network in batches of different sizes, relative to the largest feature: in
float32 on a CPU, and elsewhere."""


class FrozenFeatures:
    """Replaces the images of splits by the features of a frozen backbone, from files or computed.

    Several processes that need the same features share the work by blocks. Each computed block is written to the disk
    at once, so that a process that is started again goes on from there.

    Args:
        model: the model, whose backbone is frozen, on the device to compute on.
        config: configuration of the trial.
        content: hash of the images and splits of the data set.
        backbone: hash of the backbone's weights, from `frozen_backbone.fingerprint`.
        views: views of the training images; None: only the view that an evaluation sees.
        autocast: dtype that the network computes in for training; None: the model's.
        on_batch: called after each batch that this process has computed.
        progress: called with the number of images whose features are there.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        config: TrialConfig,
        content: str,
        backbone: str,
        views: FixedViews | None,
        autocast: torch.dtype | None,
        on_batch: Callable[[], None],
        progress: Progress = no_progress,
    ) -> None:
        self._model, self._config, self._views, self._autocast = model, config, views, autocast
        self._on_batch, self._progress = on_batch, progress
        self._image_size = config.data.chosen_image_size
        self._content = content
        numbers = itertools.chain(model.parameters(), model.buffers())  # a user's network may have neither
        device = next(numbers, torch.empty(0)).device
        self._device = device
        self._known = [VERSION, content, config.backbone.name, config.backbone.arguments, config.embedding.pool]
        made_by = _made_by(config.backbone.name)
        self._known += [self._image_size, device.type, torch.__version__, backbone, made_by.get("code")]
        self._known += [made_by["packages"]] if "packages" in made_by else []
        if not getattr(config.data, "cache", True):  # that of a cache depends on them
            self._known += [config.data.chosen_resize, config.data.chosen_interpolation]

    def training(self, split: ImageSplit) -> ImageSplit:
        """Return `split`, n training images, with the features of all V views: n of the first view, then n of the next.

        The labels are repeated as well, (n * V,).
        """
        views = 1 if self._views is None else self._views.count
        how = None if self._views is None else self._config.chosen_augmentation.model_dump()
        vectors = self._vectors(["training", views, how, str(self._autocast)], split, "train", views, training=True)
        return replace(split, images=vectors, labels=split.labels.repeat(views))

    def evaluation(self, split: ImageSplit, name: str) -> ImageSplit:
        """Return `split`, called `name`, with features in place of images, which are moved to its `pictures`."""
        gallery = None if split.gallery is None else self.evaluation(split.gallery, f"{name} gallery")
        vectors = self._vectors(["evaluation", name], split, name, 1, training=False)
        return ImageSplit(vectors, split.labels, gallery, pictures=split.images, pairs=split.pairs)

    def _vectors(self, purpose: list[object], split: ImageSplit, name: str, views: int, training: bool) -> Vectors:
        count = len(split.images) * views
        text = json.dumps([*self._known, *purpose, count], sort_keys=True)
        folder = cache_dir() / FOLDER
        target = folder / f"{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}.npy"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if is_import_path(self._config.backbone.name):
                probe = self._compute(split, slice(0, min(PROBE, count)), training)
                target = self._of_this_network(target, probe, count)
            vectors = _opened(target, count)
            if vectors is None:
                about = about_features(self._config, "training" if training else name, self._device.type)
                self._make(target, split, views, training, {**about, "content": self._content})
                self._tell(count, count, computed=0)
                vectors = Vectors(target)
            return vectors
        except OSError as error:
            if not is_full(error) and str(folder) not in str(error.filename):
                raise  # the error is of reading images
            raise UserError(
                f"the features of {count:,} images of {self._config.data.name} cannot be kept in {folder} "
                f"({error.strerror}): make room there (mdr-tune data list shows what there is), or set the environment "
                "variable MDR_TUNE_CACHE to another folder"
            ) from error

    def _of_this_network(self, first: Path, probe: np.ndarray, count: int) -> Path:
        """Return the path for this network's `count` features: `first`, or one beside it if `first` is another's.

        `probe` (m, F) has the features of the first m images, which tell the networks apart.
        """
        files = [first, *(first.with_stem(f"{first.stem}-{number}") for number in range(2, MOST_NETWORKS + 1))]
        for file in files:
            _opened(file, count)  # removes a damaged one
        with locked(first):
            known = [_first_features(file, len(probe)) for file in files]
            for file, features in zip(files, known, strict=True):
                if features is not None and self._is_same(features, probe):
                    return file
            taken = [file for file, features in zip(files, known, strict=True) if features is not None]
            if taken:
                logger.warning(
                    "the features of %s in %s are of another network, whose tensors outside of its state dict, files "
                    "or packages were others; computing those of this one",
                    self._config.backbone.name,
                    ", ".join(map(str, taken)),
                )
            target = next((file for file in files if file not in taken), None) or min(files, key=_time_of)
            parts = target.with_suffix(".parts")
            target.unlink(missing_ok=True)
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir()
            _write(parts / _PROBE_FILE, probe)
        return target

    def _is_same(self, kept: np.ndarray, computed: np.ndarray) -> bool:
        is_exact = self._device.type == "cpu" and self._autocast is None
        bound = (_ROUNDING if is_exact else _COARSE_ROUNDING) * float(np.nanmax(np.abs(computed), initial=0.0))
        return kept.shape == computed.shape and np.allclose(kept, computed, rtol=0.0, atol=bound, equal_nan=True)

    def _make(self, target: Path, split: ImageSplit, views: int, training: bool, about: dict[str, Any]) -> None:
        self._model.backbone.eval()  # an evaluation puts the whole model back into training mode
        count = len(split.images) * views
        parts = target.with_suffix(".parts")
        size = self._compute(split, slice(0, 1), training).shape[1]
        check_free(target.parent, 2 * count * size * 4, f"for the features of {count:,} images")
        parts.mkdir(exist_ok=True)
        blocks = [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
        files = [parts / f"{block.start}.npy" for block in blocks]
        for waits in (False, True):  # first the blocks that no process is at, then those that ended processes left
            for block, file in zip(blocks, files, strict=True):
                if target.exists():
                    return
                with _claimed(file, waits) as is_mine:
                    if is_mine and not target.exists() and not _is_whole(file, (block.stop - block.start, size)):
                        tell = functools.partial(self._tell, count, BLOCK * sum(map(Path.exists, files)))
                        _write(file, self._compute(split, block, training, tell))
        with locked(target):
            remove_abandoned(target.parent, held=target)
            if not target.exists():
                with atomic_write(about_file(target)) as opened:
                    opened.write(json.dumps(about).encode())
                write_vectors(target, count, size, map(np.load, files))
                shutil.rmtree(parts, ignore_errors=True)

    def _tell(self, count: int, there: int, computed: int) -> None:
        """Report the progress: of `count` features, `there` are in files, and `computed` more in memory."""
        self._progress(f"features of {self._config.backbone.name}", min(count, there + computed), count)

    def _compute(
        self, split: ImageSplit, rows: slice, training: bool, tell: Callable[[int], None] = lambda computed: None
    ) -> np.ndarray:
        """Return the features (m, F) of the `rows` of `split`: row v * n + i is image i of n, in view v.

        `training` chooses the views and precision of training. After each batch, `tell` gets the number of rows so far.
        """
        features = []
        for numbers in torch.arange(rows.start, rows.stop).split(BATCH):
            features.append(self._batch(split, numbers, training))
            tell(int(numbers[-1]) + 1 - rows.start)
        return np.concatenate(features)

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


def about_features(config: TrialConfig, split: str, device: str) -> dict[str, Any]:
    """Return the settings that the kept features of a trial depend on, such as backbone, data and precision.

    They are shown to users, and a plan compares them to find kept features. `split` is `training`, or the split of an
    evaluation. `device` is the type of the device that computes the features.
    """
    backbone = config.backbone
    augmentation = config.chosen_augmentation.model_dump() if split == "training" else None
    file = Path(backbone.weights) if os.path.isabs(backbone.weights) else None
    about: dict[str, Any] = {
        "data": config.data.model_dump(),
        "split": split,
        "backbone": {"name": backbone.name, "weights": backbone.weights, "arguments": dict(backbone.arguments)},
        "weights_changed": None if file is None else file.stat().st_mtime,
        "seed": None if backbone.pretrained else config.seed,
        "pool": config.embedding.pool,
        "views": (backbone.views or 1) if split == "training" else 1,
        "augmentation": augmentation,
        "precision": config.precision if split == "training" else "fp32",
        "device": device,
        "torch": str(torch.__version__),
        **_made_by(backbone.name),
    }
    return json.loads(json.dumps(about))  # type: ignore[no-any-return]  # as a file gives it back


def _made_by(name: str) -> dict[str, Any]:
    """Return the versions of the `packages` that the network `name` is made with, and a hash of the user's `code`.

    A key is left out if there is nothing to list: no packages beside torch, or no code of the user's own.
    """
    packages = {package: version_of(package) for package in family_of(name).packages} | packages_of([name])
    files = imported_hashes() if is_import_path(name) else {}
    return {**({"packages": packages} if packages else {}), **({"code": content_of(files)} if files else {})}


def _opened(target: Path, count: int) -> Vectors | None:
    """Return the `count` kept features in the file `target`. If there is no such file, or it is damaged, return None.

    A damaged file is removed.
    """
    if not target.exists():
        return None
    with locked(target):  # otherwise a whole file, just written by another process, might be removed as damaged
        try:
            vectors = Vectors(target)
            if len(vectors) == count:
                return vectors
            problem: object = f"{len(vectors):,} images, not {count:,}"
        except FileNotFoundError:
            return None
        except (ValueError, EOFError) as error:
            problem = error
        logger.warning("the kept features %s are damaged (%s); computing them anew", target, problem)
        target.unlink()
    return None


def _is_whole(file: Path, shape: tuple[int, int]) -> bool:
    """Return whether the `file` of a block exists, and holds an array of `shape`."""
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False).shape
    except FileNotFoundError:
        return False
    except (ValueError, EOFError) as error:
        found = error
    if found != shape:
        logger.warning("the features %s are damaged (%s); computing them anew", file, found)
    return bool(found == shape)


_PROBE_FILE = "probe.npy"
"""Name of the file with the features of the first images, in the folder of features that are not complete yet."""


def _first_features(target: Path, count: int) -> np.ndarray | None:
    """Return the first `count` features in the file `target`, or in its unfinished parts; None if there are none."""
    for file in (target, target.with_suffix(".parts") / _PROBE_FILE):
        with contextlib.suppress(FileNotFoundError, ValueError, EOFError):
            return np.array(np.load(file, mmap_mode="r", allow_pickle=False)[:count])
    return None


def _time_of(target: Path) -> float:
    """Return the time, in seconds since 1970, at which the file `target` or its unfinished parts were written."""
    return (target if target.exists() else target.with_suffix(".parts")).stat().st_mtime


def _write(file: Path, features: np.ndarray) -> None:
    with atomic_write(file) as opened:
        np.save(opened, features, allow_pickle=False)


@contextlib.contextmanager
def _claimed(file: Path, waits: bool) -> Iterator[bool]:
    """Take the lock of a block's `file` for the `with` block, and yield True; yield False if there is no lock to take.

    If another process has the lock, wait for it if `waits`, else yield False. The kernel releases the lock of a process
    that ends. Once all features are complete, the folder of `file` is gone, and False is yielded too.
    """
    try:
        opened = file.with_name(f"{file.name}.lock").open("ab")
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
