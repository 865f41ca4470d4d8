"""Which images a model is fed: the data set, read in the way that the model was made for."""

from collections.abc import Mapping
from dataclasses import dataclass

from mdr_tune.config.datasets import Dataset, read_data
from mdr_tune.util.errors import UserError

KEYS = ("resize", "image_size", "interpolation")
"""Keys of a data set of image files that say how an image is brought to the size that a network sees."""
ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class Feeding:
    """What a model takes.

    Attributes:
        keys: Values of those of `KEYS` that are known; empty if none is.
        shape: Shape (C, H, W) of the images that the network sees; None if it may be any that the keys lead to.
        is_fixed: Whether the model takes nothing else. If not, keys that the user gives replace `keys`.
    """

    keys: Mapping[str, object]
    shape: ImageShape | None = None
    is_fixed: bool = True


def keys_of(data: Dataset) -> dict[str, object]:
    """Return the values of `KEYS` that `data` has. Each `auto` is replaced by the value in use."""
    resize, size, by = data.chosen_resize, data.chosen_image_size, data.chosen_interpolation
    chosen = {"resize": resize, "image_size": size, "interpolation": by}
    found = {key: chosen[key] for key in KEYS if key in type(data).model_fields}
    return {key: value for key, value in found.items() if value is not None}


def feed(data: Dataset, feeding: Feeding, model: str) -> Dataset:
    """Return `data` as it is read for the model that the user called `model`.

    Raises:
        UserError: The model takes images of another size or with another number of channels, or no images at all.
    """
    wanted = {key: value for key, value in feeding.keys.items() if key in type(data).model_fields}
    given = {key: value for key, value in keys_of(data).items() if key in data.model_fields_set}
    if not feeding.is_fixed and {"resize", "image_size"} & given.keys():
        wanted = {key: value for key, value in wanted.items() if key not in ("resize", "image_size")}
    if feeding.is_fixed:
        for key, value in wanted.items():
            if given.get(key, value) != value:
                raise UserError(
                    f"{model}: was made for images with {_said(wanted)}, and data.{key} is {given[key]}: leave out "
                    f"data.{key}, and each model gets its images as it was made for, or set it to {value}"
                )
    changed = {key: value for key, value in wanted.items() if key not in given}
    fed = data
    if changed:
        kept = {key: value for key, value in data.model_dump().items() if key not in KEYS or key in given}
        fed = read_data(**{**kept, **changed})
    if feeding.shape is not None and fed.input_shape != feeding.shape:
        raise UserError(f"{model}: {_misfit(feeding.shape, fed)}")
    return fed


def _said(keys: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in keys.items())


def _misfit(shape: ImageShape, data: Dataset) -> str:
    """Return how the images of `data` differ from those of `shape` (C, H, W), with advice."""
    takes, has = (_images(*each) for each in (shape, data.input_shape))
    if (shape[1] == 1) != (data.input_shape[1] == 1):
        return f"takes {takes}, and {data.name} has {has}: choose another data set, or another model"
    if shape[0] != data.input_shape[0]:
        kind = "grey" if data.input_shape[0] == 1 else "RGB"
        return f"takes {takes}, and {data.name} has {has}: choose a model of {kind} images"
    return f"takes {takes}, and {data.name} has {has}: choose a model that was made for this size"


def _images(channels: int, height: int, width: int) -> str:
    if height == 1:
        return f"vectors of {width} numbers"
    return f"{'grey' if channels == 1 else 'RGB'} images of {height} x {width} pixels"
