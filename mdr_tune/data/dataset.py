"""What a data set is to the rest of the platform: three class-disjoint splits of images in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageSplit:
    """The images of some classes.

    Attributes:
        images: (n, C, H, W) uint8, grey values or RGB in 0..255. Treat it as read-only: it may be a
            view of a memory-mapped file that other processes share.
        labels: (n,) int64, class ids that are contiguous within the whole data set, hence not
            necessarily within this split.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 (n, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """The number of different classes in this split."""
        return len(torch.unique(self.labels))


@dataclass(frozen=True)
class ImageDataset:
    """A named data set whose three splits share no class.

    Labels run over the splits in the order of `SPLIT_NAMES`: those of the training split are
    0 .. splits["train"].num_classes - 1, so that a loss with one proxy per class can index by them.
    """

    name: str
    splits: Mapping[SplitName, ImageSplit]

    @property
    def num_classes(self) -> int:
        """The number of classes of all splits together."""
        return sum(split.num_classes for split in self.splits.values())

    def split(self, name: SplitName) -> ImageSplit:
        """Return one split.

        "test" is for the final evaluation only: nothing that searches, stops early or chooses an
        epoch may ask for it.

        Raises:
            ValueError: `name` is not one of `SPLIT_NAMES`.
        """
        if name not in self.splits:
            raise ValueError(f"unknown split {name!r} of {self.name}; choose one of {', '.join(self.splits)}")
        return self.splits[name]


@dataclass(frozen=True)
class DatasetSource:
    """How a data set gets onto a machine, and from there into memory.

    Attributes:
        prepare: make sure that the data set's files are below the given cache folder, and return the
            file to read. Costs next to nothing when they are there already; safe to call from several
            processes at once.
        load: `prepare`, then open.
    """

    prepare: Callable[[Path], Path]
    load: Callable[[Path], ImageDataset]
