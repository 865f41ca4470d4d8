"""How training images are varied: one draw for each image of the global batch, whatever the number of workers.

To add an augmentation, add a class here.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from mdr_tune.config.base import Named, members, one_of
from mdr_tune.config.units import SHARE

if TYPE_CHECKING:
    from mdr_tune.data.augmentations.augmentation import Augmentation as BuiltAugmentation


class Augmentation(Named):
    """An augmentation that a file may name."""

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return the augmentation.

        Args:
            image_size: height and width of its results in pixels; None: those of the images (random_resized_crop: their
                height, both ways).
        """
        raise NotImplementedError


class AutoAugmentationConfig(Augmentation):
    """What suits the data: affine for glyphs, else random_resized_crop with the authors' numbers."""

    name: Literal["auto"] = "auto"


class AffineConfig(Augmentation):
    """A little rotation, scale and shift; then the centre."""

    name: Literal["affine"]

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return the augmentation of `data.augmentations.affine`."""
        from mdr_tune.data.augmentations.augmentation import Affine

        return Affine(image_size)


class NoAugmentationConfig(Augmentation):
    """The centre, as in evaluation."""

    name: Literal["none"]

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return the centre crop."""
        from mdr_tune.data.augmentations.augmentation import CenterCrop

        return CenterCrop(image_size)


def _ascending(pair: list[float]) -> list[float]:
    if pair[0] > pair[1]:
        raise ValueError(f"expected [least, largest], got {pair}: swap them")
    return pair


Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0)]


class RandomResizedCropConfig(Augmentation):
    """A random part of the image, brought to `data.image_size`, perhaps mirrored. The numbers are the authors'."""

    name: Literal["random_resized_crop"]
    scale: Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_ascending), SHARE] = [0.16, 1.0]
    """Least and largest share of the image's area."""
    ratio: Annotated[list[Ratio], Field(min_length=2, max_length=2), AfterValidator(_ascending)] = [0.75, 1.33]
    """Least and largest width by height."""
    flip: Annotated[float, SHARE] = Field(0.5, ge=0, le=1)
    """How likely an image is mirrored."""
    interpolation: Literal["lanczos", "bicubic", "bilinear"] = "lanczos"
    """How pixels are resampled."""

    def build(self, image_size: int | None) -> "BuiltAugmentation":
        """Return the random crop, mirrored or not."""
        from mdr_tune.data.augmentations.random_resized_crop import RandomResizedCrop

        return RandomResizedCrop(image_size, **self.arguments())


if TYPE_CHECKING:
    AugmentationConfig = Augmentation
else:
    AugmentationConfig = one_of(Augmentation, default="auto")


def chosen_augmentation(augmentation: AugmentationConfig, best: str) -> AugmentationConfig:
    """Return the augmentation, `auto` being replaced by what suits the data, `best`."""
    if augmentation.name != "auto":
        return augmentation
    return members(Augmentation)[best].model_validate({"name": best})
