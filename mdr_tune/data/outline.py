"""The number of images of each class of a data set, which is known before any image is decoded.

A launch and its dry run use these numbers to find mistakes before Ray starts. This module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.util.words import count


@dataclass(frozen=True)
class SplitOutline:
    """The numbers of images in one split.

    Attributes:
        class_sizes: number of images of each class. If there is a gallery, only queries are counted.
        gallery: number of images in the gallery. None: no gallery; the split's images are compared with each other.
        pairs: number of pairs of the split in a list for verification. None: there is no such list.
    """

    class_sizes: tuple[int, ...]
    gallery: int | None = None
    pairs: int | None = None

    @property
    def num_retrievable(self) -> int:
        """Number of images that each query is compared with."""
        return sum(self.class_sizes) - 1 if self.gallery is None else self.gallery


@dataclass(frozen=True)
class DatasetOutline:
    """The numbers of images in the three splits of the data set `name`."""

    name: str
    train: SplitOutline
    validation: SplitOutline
    test: SplitOutline


GLYPHS = DatasetOutline("glyphs", *(SplitOutline((12,) * classes) for classes in (692, 207, 485)))
"""Outline of the data set `mdr_tune.data.glyphs`. A class is a letter, with one image in each of twelve typefaces."""


def largest_batch(class_sizes: Sequence[int], images_per_class: int) -> int:
    """Return the size of the largest batch with at most `images_per_class` images from each class of `class_sizes`."""
    return sum(min(size, images_per_class) for size in class_sizes)


def why_unfillable(class_sizes: Sequence[int], batch_size: int, images_per_class: int) -> str | None:
    """Return a message if a batch cannot be filled when each class is drawn at most once; None if it can be filled.

    Args:
        class_sizes: number of images of each class.
        batch_size: number of images in the global batch.
        images_per_class: number of images that are drawn from a class. If a class has fewer images, all are drawn.
    """
    most = largest_batch(class_sizes, images_per_class)
    if most >= batch_size:
        return None
    classes, images = count(len(class_sizes), "class"), count(most, "image")
    return (
        f"{images_per_class} images from each of {classes} make at most {images}, "
        f"which cannot fill a batch of {batch_size}: lower batch.size, or raise batch.images_per_class where "
        "classes have more images"
    )
