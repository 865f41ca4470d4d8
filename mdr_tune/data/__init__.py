"""Data sets, their splits, the batch sampler and the augmentations; found by name in `mdr_tune.catalog`."""

from mdr_tune.cache_files import cache_dir
from mdr_tune.data.dataset import SPLIT_NAMES, ImageDataset, Images, ImageSplit, SearchSplitName, SplitName
from mdr_tune.data.load import dataset_content, is_decoded, load_dataset, outline_files, read_test_split, split_sizes
from mdr_tune.data.sampler import BatchSampler
from mdr_tune.data.seeding import derive_seed

__all__ = [
    "SPLIT_NAMES",
    "BatchSampler",
    "ImageDataset",
    "ImageSplit",
    "Images",
    "SearchSplitName",
    "SplitName",
    "cache_dir",
    "dataset_content",
    "derive_seed",
    "is_decoded",
    "load_dataset",
    "outline_files",
    "read_test_split",
    "split_sizes",
]
