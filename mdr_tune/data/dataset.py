"""Data sets as the other packages use them: splits that have no class in common, with images that are read by index."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch

from mdr_tune.data.outline import DatasetOutline, SplitOutline

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
SearchSplitName = Literal["train", "validation"]
"""Name of a split that the code of a search may read: any split but the test split."""


class Images(Protocol):
    """Images that all have the same shape and are read by index, such as a uint8 tensor (n, C, H, W).

    Other implementations read images from a file or decode them. In every process, each read of an image gives the same
    bytes. `Vectors` are read like images, but are float32 (n, 1, 1, F).
    """

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers: uint8 for images, float32 for vectors."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images together, (n, C, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: torch.Tensor, /) -> torch.Tensor:
        """Return a copy of the m images at `indices`, (m,) int64: (m, C, H, W) on the CPU. Images are grey or RGB."""


class JoinedImages:
    """All images of `first`, followed by all images of `second`. Raise ValueError if their (C, H, W) differ."""

    def __init__(self, first: Images, second: Images) -> None:
        if first.shape[1:] != second.shape[1:]:
            raise ValueError(f"images of {tuple(first.shape[1:])} and {tuple(second.shape[1:])} cannot be joined")
        self._first, self._second = first, second

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images together, (n, C, H, W)."""
        return (len(self), *self._first.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers: uint8 for images, float32 for vectors."""
        return self._first.dtype

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, indices: torch.Tensor, /) -> torch.Tensor:
        """Return a copy of the images at `indices`, (m,) int64, as (m, C, H, W)."""
        of_first = indices < len(self._first)
        images = torch.empty(len(indices), *self.shape[1:], dtype=self.dtype)
        images[of_first] = self._first[indices[of_first]]
        images[~of_first] = self._second[indices[~of_first] - len(self._first)]
        return images


class ImagePairs(NamedTuple):
    """A list of pairs of images of a split, for verification.

    Attributes:
        indices: (P, 2) int64, indices of the images of each pair. With a gallery, its images follow those of the split.
        is_same: (P,) bool, whether both images show the same class.
    """

    indices: torch.Tensor
    is_same: torch.Tensor


@dataclass(frozen=True)
class ImageSplit:
    """Images with the labels of their classes, and perhaps a gallery to compare the images with.

    Attributes:
        images: the n images.
        labels: (n,) int64, the class of each image, numbered from 0 without gaps over the whole data set. The labels of
            one split may begin above 0 and have gaps.
        gallery: images that an evaluation compares with `images`, which are then the queries. Equal labels mean the
            same class in both. None: `images` are compared with each other.
        pictures: the images from which a frozen network made the vectors `images`, to show in reports. None: `images`
            are shown.
        pairs: the pairs of images that a verification compares. None: all pairs.
    """

    images: Images
    labels: torch.Tensor
    gallery: "ImageSplit | None" = None
    pictures: Images | None = None
    pairs: ImagePairs | None = None

    def __post_init__(self) -> None:
        if len(self.images.shape) != 4:
            raise ValueError(f"images must be (n, C, H, W), got {tuple(self.images.shape)}")
        if isinstance(self.images, torch.Tensor) and self.images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, got {self.images.dtype}")
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self.images),):
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes among `images`, without the gallery."""
        return len(torch.unique(self.labels))

    def outline(self) -> SplitOutline:
        """Return the number of images of each class, and the number of images in the gallery."""
        _, sizes = self.labels.unique(return_counts=True)
        return SplitOutline(tuple(sizes.tolist()), None if self.gallery is None else len(self.gallery))


@dataclass(frozen=True)
class ImageDataset:
    """The training and validation classes of a data set, for searches. `read_test_split` reads the test classes.

    Training labels are 0 .. splits["train"].num_classes - 1, so that a loss with one proxy per class can use them as
    indices. The labels of the validation classes follow, and then those of the test classes.

    Attributes:
        name: name of the data set.
        splits: the splits `train` and `validation` by name; only `train` after `with_all_training_classes`.
        recall_ks: values of K for which Recall@K is reported on this data set.
        content: hash of all images and their splits, including the test split; empty if no hash is known.
        cache_file: file of decoded images that the images are read from; None if there is no such file.
    """

    name: str
    splits: Mapping[SearchSplitName, ImageSplit]
    recall_ks: tuple[int, ...] = (1, 2, 4, 8)
    content: str = ""
    cache_file: Path | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of the images as they are read, before augmentation and crop."""
        return tuple(self.splits["train"].images.shape[1:])

    def input_shape(self, image_size: int | None) -> tuple[int, ...]:
        """Return the network's input shape (C, H, W). H and W are `image_size`; None: those of the whole images."""
        channels, height, width = self.image_shape
        return (channels, height, width) if image_size is None else (channels, image_size, image_size)

    def with_all_training_classes(self) -> "ImageDataset":
        """Return the data set with the validation classes moved into the training split, and no validation split."""
        train, validation = self.splits["train"], self.splits["validation"]
        joined = ImageSplit(JoinedImages(train.images, validation.images), torch.cat([train.labels, validation.labels]))
        return replace(self, splits={"train": joined})

    def split(self, name: SearchSplitName) -> ImageSplit:
        """Return the split `name`, `train` or `validation`. Raise ValueError if the data set has no such split."""
        if name not in self.splits:
            raise ValueError(
                f"{self.name} has no split {name!r} to search on; choose one of {', '.join(self.splits)} "
                "(read_test_split reads the test classes, for the final evaluation)"
            )
        return self.splits[name]


class OpenedDataset(NamedTuple):
    """All splits of a data set: train and validation (`searched`, which `load_dataset` returns), and `test`."""

    searched: ImageDataset
    test: ImageSplit

    def outline(self) -> DatasetOutline:
        """Return the number of images of each class of each split."""
        searched, test = self
        splits = searched.split("train"), searched.split("validation"), test
        return DatasetOutline(searched.name, *(split.outline() for split in splits))
