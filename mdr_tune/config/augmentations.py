"""The augmentations of training images that a sweep file may name. To add one, add a class here.

The random changes of an image do not depend on the number of workers that share the global batch.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from mdr_tune.config.strict_model import Named, members, one_of
from mdr_tune.config.units import SHARE

if TYPE_CHECKING:
    from mdr_tune.data.augmentations.augmentation import Augmentation as BuiltAugmentation


Interpolation = Literal["lanczos", "bicubic", "bilinear"]
"""Filter by which an image, or a part of it, is resized."""


class Augmentation(Named):
    """An augmentation that a sweep file may name."""

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return a new augmentation that makes images of `image_size` x `image_size` pixels.

        If `image_size` is None, images keep their size; random_resized_crop makes squares as high as the images.
        """
        raise NotImplementedError


class AutoAugmentationConfig(Augmentation):
    """The augmentation that suits the data: affine for glyphs, else random_resized_crop with its defaults.

    The filter of random_resized_crop is then `data.interpolation`.
    """

    name: Literal["auto"] = "auto"


class AffineConfig(Augmentation):
    """A small rotation, scaling and shift, followed by a centre crop."""

    name: Literal["affine"]

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return a new affine augmentation."""
        from mdr_tune.data.augmentations.augmentation import Affine

        return Affine(image_size)


class NoAugmentationConfig(Augmentation):
    """No random change: the centre crop, as in evaluation."""

    name: Literal["none"]

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return a new centre crop."""
        from mdr_tune.data.augmentations.augmentation import CenterCrop

        return CenterCrop(image_size)


def _ascending(pair: list[float]) -> list[float]:
    if pair[0] > pair[1]:
        raise ValueError(f"expected [least, largest], got {pair}: swap them")
    return pair


Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0)]


class RandomResizedCropConfig(Augmentation):
    """A random part of the image, resized to `data.image_size` and sometimes mirrored.

    The defaults are those of MDR's authors.
    """

    name: Literal["random_resized_crop"]
    scale: Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_ascending), SHARE] = [0.16, 1.0]
    """Smallest and largest share of the image's area that the part has."""
    ratio: Annotated[list[Ratio], Field(min_length=2, max_length=2), AfterValidator(_ascending)] = [0.75, 1.33]
    """Smallest and largest ratio of the part's width to its height."""
    flip: Annotated[float, SHARE] = Field(0.5, ge=0, le=1)
    """Probability that an image is mirrored."""
    interpolation: Interpolation = "lanczos"
    """Filter by which the part is resized."""

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return a new random resized crop with the values of the keys."""
        from mdr_tune.data.augmentations.random_resized_crop import RandomResizedCrop

        return RandomResizedCrop(image_size, **self.arguments())


if TYPE_CHECKING:
    AugmentationConfig = Augmentation
else:
    AugmentationConfig = one_of(Augmentation, default="auto")


def chosen_augmentation(
    augmentation: AugmentationConfig, best: str, interpolation: Interpolation
) -> AugmentationConfig:
    """Return `augmentation`. If it is `auto`, return the one named `best` instead, with the filter `interpolation`."""
    if augmentation.name != "auto":
        return augmentation
    member = members(Augmentation)[best]
    keys: dict[str, Any] = {"interpolation": interpolation} if "interpolation" in member.model_fields else {}
    return member.model_validate({"name": best, **keys})
