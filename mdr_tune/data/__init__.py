"""Data sets, their splits, the batch sampler and the augmentations.

Names are imported when they are first used, so that `mdr_tune.data.outline` can be imported without torch.
"""

from typing import TYPE_CHECKING, Any

from mdr_tune.util.lazy_names import lazy_name

if TYPE_CHECKING:
    from mdr_tune.data.dataset import SPLIT_NAMES, ImageDataset, Images, ImageSplit, SearchSplitName, SplitName
    from mdr_tune.data.open_data import (
        DataSource,
        dataset_content,
        is_decoded,
        load_dataset,
        outline_files,
        read_test_split,
        split_files,
        split_sizes,
    )
    from mdr_tune.data.sampler import BatchSampler
    from mdr_tune.data.seeding import derive_seed

__all__ = [
    "SPLIT_NAMES",
    "BatchSampler",
    "DataSource",
    "ImageDataset",
    "ImageSplit",
    "Images",
    "SearchSplitName",
    "SplitName",
    "dataset_content",
    "derive_seed",
    "is_decoded",
    "load_dataset",
    "outline_files",
    "read_test_split",
    "split_files",
    "split_sizes",
]
_MODULES = {
    "dataset": ["SPLIT_NAMES", "ImageDataset", "ImageSplit", "Images", "SearchSplitName", "SplitName"],
    "open_data": [
        *("DataSource", "dataset_content", "is_decoded", "load_dataset", "outline_files", "read_test_split"),
        *("split_files", "split_sizes"),
    ],
    "sampler": ["BatchSampler"],
    "seeding": ["derive_seed"],
}


def __getattr__(name: str) -> Any:
    return lazy_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__
