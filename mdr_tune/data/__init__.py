"""Data sets, their splits, the batch sampler and the augmentation; found by name in `mdr_tune.catalog`."""

from functools import cache
from pathlib import Path

from mdr_tune.cache_files import cache_dir
from mdr_tune.catalog import DATASETS
from mdr_tune.data.augment import augment_affine, draw_affine_params
from mdr_tune.data.dataset import (
    SPLIT_NAMES,
    DatasetSource,
    ImageDataset,
    ImageSplit,
    SplitName,
)
from mdr_tune.data.sampler import BatchSampler
from mdr_tune.data.seeding import derive_seed

__all__ = [
    "SPLIT_NAMES",
    "BatchSampler",
    "DatasetSource",
    "ImageDataset",
    "ImageSplit",
    "SplitName",
    "augment_affine",
    "cache_dir",
    "derive_seed",
    "draw_affine_params",
    "load_dataset",
]


def load_dataset(name: str) -> ImageDataset:
    """Return a data set, prepared in the cache folder; loaded once per process, then kept.

    Raises:
        Unavailable: (a ValueError) `name` is known, but this version does not read it.
        ValueError: `name` is unknown; the message lists the known ones.
        UserError: the cache folder cannot be written to.
    """
    return _load_once(name, DATASETS[name], cache_dir())


@cache
def _load_once(name: str, source: DatasetSource, folder: Path) -> ImageDataset:
    return source.load(folder)
