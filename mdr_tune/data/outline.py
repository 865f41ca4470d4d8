"""What is known of a data set before an image is decoded: how many images each class has. Without torch.

A launch, and its dry run, check with it what would else be found out after Ray has started.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.util.words import count


@dataclass(frozen=True)
class SplitOutline:
    """Number of images of each class of a split.

    Attributes:
        class_sizes: Number of images of each class; of the queries, where there is a gallery.
        gallery: Number of images that queries are compared with; None: the split's images are compared with each other.
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
        name: of the data set.
        train: the training classes.
        validation: the validation classes.
        test: the test classes.
    """

    name: str
    train: SplitOutline
    validation: SplitOutline
    test: SplitOutline


GLYPHS = DatasetOutline("glyphs", *(SplitOutline((12,) * classes) for classes in (692, 207, 485)))
"""Twelve typefaces draw each letter (`mdr_tune.data.glyphs`)."""


def largest_batch(class_sizes: Sequence[int], images_per_class: int) -> int:
    """Return how many images one pass over all classes gives. Arguments as of `why_unfillable`."""
    return sum(min(size, images_per_class) for size in class_sizes)


def why_unfillable(class_sizes: Sequence[int], batch_size: int, images_per_class: int) -> str | None:
    """Say why one pass over all classes cannot fill a batch; None if it can.

    Args:
        class_sizes: Number of images of each class.
        batch_size: Images in the global batch.
        images_per_class: Images drawn from a class that has that many; a smaller one gives all it has.
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
