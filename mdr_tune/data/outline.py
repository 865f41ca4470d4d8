"""Number of images of each class of a data set, known before an image is decoded. Imports no torch.

A launch and its dry run use it to find mistakes that would otherwise appear after Ray has started.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.util.words import count


@dataclass(frozen=True)
class SplitOutline:
    """A split in numbers.

    Attributes:
        class_sizes: Number of images of each class. If there is a gallery, only queries are counted.
        gallery: Number of images in the gallery; None: the images of the split are compared with each other.
    """

    class_sizes: tuple[int, ...]
    gallery: int | None = None

    @property
    def num_retrievable(self) -> int:
        """Number of images that each query is compared with."""
        return sum(self.class_sizes) - 1 if self.gallery is None else self.gallery


@dataclass(frozen=True)
class DatasetOutline:
    """The splits of a data set in numbers.

    Attributes:
        name: name of the data set.
        train: training classes.
        validation: validation classes.
        test: test classes.
    """

    name: str
    train: SplitOutline
    validation: SplitOutline
    test: SplitOutline


GLYPHS = DatasetOutline("glyphs", *(SplitOutline((12,) * classes) for classes in (692, 207, 485)))
"""Outline of the letters of `mdr_tune.data.glyphs`. A class is a letter, drawn in twelve typefaces."""


def largest_batch(class_sizes: Sequence[int], images_per_class: int) -> int:
    """Return the number of images that one pass over all classes gives. Arguments are as for `why_unfillable`."""
    return sum(min(size, images_per_class) for size in class_sizes)


def why_unfillable(class_sizes: Sequence[int], batch_size: int, images_per_class: int) -> str | None:
    """Return why one pass over all classes cannot fill a batch; None if it can.

    Args:
        class_sizes: Number of images of each class.
        batch_size: Number of images in the global batch.
        images_per_class: Number of images that are drawn from a class. A class with fewer images gives all it has.
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
