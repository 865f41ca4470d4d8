"""Data sets, their splits, the batch sampler and the augmentation; data sets are found in `DATASETS`."""

from functools import cache, partial
from pathlib import Path
from typing import NoReturn

from mdr_tune.data import glyphs
from mdr_tune.data.augment import augment_affine, draw_affine_params
from mdr_tune.data.cache_files import cache_dir
from mdr_tune.data.dataset import (
    SPLIT_NAMES,
    DatasetSource,
    DatasetUnavailable,
    ImageDataset,
    ImageSplit,
    SplitName,
)
from mdr_tune.data.sampler import BatchSampler
from mdr_tune.data.seeding import derive_seed
from mdr_tune.registry import Registry

__all__ = [
    "DATASETS",
    "SPLIT_NAMES",
    "BatchSampler",
    "DatasetSource",
    "DatasetUnavailable",
    "ImageDataset",
    "ImageSplit",
    "SplitName",
    "augment_affine",
    "cache_dir",
    "derive_seed",
    "draw_affine_params",
    "load_dataset",
]

DATASETS: Registry[DatasetSource] = Registry("data set")


def load_dataset(name: str) -> ImageDataset:
    """Return a data set, prepared in the cache folder; loaded once per process, then kept.

    Raises:
        DatasetUnavailable: (a ValueError) `name` is known, but this version does not read it.
        ValueError: `name` is unknown; the message lists the known ones.
        UserError: the cache folder cannot be written to.
    """
    return _load_once(name, DATASETS[name], cache_dir())


@cache
def _load_once(name: str, source: DatasetSource, folder: Path) -> ImageDataset:
    return source.load(folder)


def _unavailable(name: str, _cache_dir: Path) -> NoReturn:
    raise DatasetUnavailable(f"this version does not read the data set {name!r} yet; 'glyphs' is available")


DATASETS.add("glyphs", DatasetSource(prepare=glyphs.prepare, load=glyphs.load))
for _name in ("cub200", "cars196", "sop", "inshop"):
    _refuse = partial(_unavailable, _name)
    DATASETS.add(_name, DatasetSource(prepare=_refuse, load=_refuse))
