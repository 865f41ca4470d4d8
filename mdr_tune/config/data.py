"""Which images a trial sees, and how their classes are split.

To add a data set: a class here (or a name in `BenchmarkDataConfig`), a source in `mdr_tune.data`, a line in
`mdr_tune.config.catalog.DATASETS`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from mdr_tune.config.base import KeyProblem, StrictModel, by_name, choose_by_name, flatten, tag
from mdr_tune.config.catalog import RECALL_KS
from mdr_tune.config.explain import lines_of
from mdr_tune.config.units import SHARE
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import not_utf_8

_NO_PATHS = (
    (r"[A-Za-z][A-Za-z0-9+.-]+://", "is an address, and files are read from this machine's disks: copy or mount them"),
    (r"[A-Za-z]:[\\/]", "is a path of Windows: write where that folder is mounted here, with slashes"),
    (r"\$\{?[A-Za-z_]\w*\}?(/|$)|%\w+%", "begins with a variable, which only a shell replaces: write it out"),
)
"""What begins so is no path, if nothing of that name is there."""


def local_path(path: str) -> str:
    """Return a path of this machine as an absolute one: workers have another working directory than the user.

    Raises:
        ValueError: It is likely none, or not UTF-8, as the working folder may be; the message says what to do.
    """
    absolute = str(Path(os.path.expanduser(path)).absolute())  # Path.expanduser raises where there is no such user
    if problem := not_utf_8(absolute):
        raise ValueError(problem)
    for pattern, problem in _NO_PATHS:
        if re.match(pattern, path) and not os.path.lexists(absolute):
            raise ValueError(f"{path} {problem}")
    return absolute


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(local_path)]
DEFAULT_ROOT = "datasets"


class ClassFraction(StrictModel):
    """A share of the classes, drawn at random."""

    fraction: Annotated[float, SHARE] = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    """Of the draw. Not the trial's: all trials of a sweep are compared on the same classes."""


class ClassFold(StrictModel):
    """One of `folds` equal parts of the classes. A cross-validation is one launch for each fold."""

    folds: int = Field(ge=2)
    fold: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_of_them(self) -> "ClassFold":
        if self.fold >= self.folds:
            raise KeyProblem("fold", f"{self.fold} is none of 0 .. {self.folds - 1}, the folds there are")
        return self


ClassShare = Annotated[
    Annotated[ClassFraction, Tag(tag("fraction"))] | Annotated[ClassFold, Tag(tag("folds"))],
    Discriminator(lambda value: tag("folds" if {"folds", "fold"} & set(_keys(value)) else "fraction")),
]


def _keys(value: Any) -> Any:
    return value if isinstance(value, dict) else type(value).model_fields if isinstance(value, StrictModel) else ()


class GlyphsDataConfig(StrictModel):
    """Letters that need no download: 32 x 32 pixels, grey, with splits of its own."""

    name: Literal["glyphs"] = "glyphs"
    chosen_image_size: ClassVar[int | None] = None
    """The network sees the images as they are."""
    best_augmentation: ClassVar[Literal["affine", "random_resized_crop"]] = "affine"
    """What `augmentation: auto` stands for."""

    @property
    def recall_ks(self) -> tuple[int, ...]:
        """The ranks K at which Recall@K is measured."""
        return (1, 2, 4, 8)

    def arguments(self) -> dict[str, Any]:
        """Return what `mdr_tune.data.load_dataset` takes beside the name: the keys of this section, as plain values."""
        return {}

    def source_arguments(self) -> dict[str, Any]:
        """Return what the data set's source takes: plain values."""
        return {}

    def describe_evaluation(self) -> str:
        """Return nothing: an evaluation sees all of a picture."""
        return ""

    def evaluation_note(self) -> str:
        """Return nothing: there is nothing to know."""
        return ""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the network sees."""
        return (1, 32, 32)

    def measured_on(self) -> dict[str, Any]:
        """Return what decides which images trials are compared on."""
        return {"name": self.name}


_USUAL_RESIZE, _USUAL_IMAGE_SIZE = 256, 224
USUAL_RESIZE_PER_IMAGE_SIZE = _USUAL_RESIZE / _USUAL_IMAGE_SIZE
"""What the authors, and this program unless told otherwise, resize to, relative to what is cut out of it."""
_LEAST_PX, _MOST_PX = 8, 2048
_LEAST_SEEN = 0.8
"""Share of a picture's width and height below which a user is told that an evaluation sees little of it."""


Pixels = Annotated[
    Annotated[Literal["auto"], Tag(tag("auto"))] | Annotated[int, Field(ge=_LEAST_PX, le=_MOST_PX), Tag(tag("pixels"))],
    Discriminator(lambda value: tag("auto" if value == "auto" else "pixels")),
]


class _ImageFilesConfig(StrictModel):
    resize: Pixels = "auto"
    """Height and width, in pixels, that every image is brought to, by Lanczos resampling; what the cache holds. `auto`:
    what `image_size` is to it as 224 is to 256, the authors' sizes."""
    image_size: Pixels = "auto"
    """Height and width that the network sees: a random crop in training, the centre in evaluation. `auto`: what is to
    `resize` as 224 is to 256."""
    cache: bool = True
    """false: images are decoded each time they are read, which is slow, and takes no disk."""
    corrupt: Literal["refuse", "skip"] = "refuse"
    """What becomes of images that cannot be decoded."""
    validation: ClassShare = ClassFraction()
    """Classes held out of the training classes, on which trials are compared."""
    best_augmentation: ClassVar[Literal["affine", "random_resized_crop"]] = "random_resized_crop"

    @model_validator(mode="after")
    def _fits_together(self) -> "_ImageFilesConfig":
        size, resize = self.chosen_image_size, self.chosen_resize
        if size > resize:
            raise KeyProblem("image_size", f"{size} is more than resize ({resize}), which it is cut out of: raise it")
        if self.corrupt == "skip" and not self.cache:
            raise KeyProblem("corrupt", "skip needs the cache, whose making finds the corrupt images: set cache: true")
        return self

    def arguments(self) -> dict[str, Any]:
        """Return what `mdr_tune.data.load_dataset` takes beside the name: the keys of this section, as plain values."""
        return self.model_dump(exclude={"name"})

    def source_arguments(self) -> dict[str, Any]:
        """Return what the data set's source takes: plain values."""
        return {**self.model_dump(exclude={"name", "image_size"}), "resize": self.chosen_resize}

    @property
    def chosen_resize(self) -> int:
        """Height and width, in pixels, that every image is brought to, `auto` decided."""
        if self.resize != "auto":
            return self.resize
        if self.image_size == "auto":
            return _USUAL_RESIZE
        return max(self.image_size, min(_MOST_PX, round(self.image_size * USUAL_RESIZE_PER_IMAGE_SIZE)))

    @property
    def chosen_image_size(self) -> int:
        """Height and width, in pixels, that the network sees, `auto` decided."""
        if self.image_size != "auto":
            return self.image_size
        return max(_LEAST_PX, round(self.chosen_resize / USUAL_RESIZE_PER_IMAGE_SIZE))

    def describe_evaluation(self) -> str:
        """Return how much of a picture an evaluation sees."""
        seen, whole = self.chosen_image_size, self.chosen_resize
        return f"the middle {seen} x {seen} of {whole} x {whole} pixels, {seen / whole:.0%} of width and height"

    def evaluation_note(self) -> str:
        """Return what to know of the part of a picture that an evaluation sees; nothing if that is most of it."""
        if self.chosen_image_size >= _LEAST_SEEN * self.chosen_resize:
            return ""
        return f"an evaluation sees {self.describe_evaluation()}: to see more, set trial.data.resize: auto"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the network sees: files are read as RGB."""
        return (3, self.chosen_image_size, self.chosen_image_size)

    def measured_on(self) -> dict[str, Any]:
        """Return what decides which images trials are compared on, flat: not how they are read and cut."""
        return flatten(self.model_dump(exclude={"image_size", "resize", "cache"}))


class BenchmarkDataConfig(_ImageFilesConfig):
    """A data set of the paper, in its original layout and with the paper's split of the classes."""

    name: Literal["cub200", "cars196", "sop", "inshop"]
    root: LocalPath = Field(DEFAULT_ROOT, validate_default=True)
    """The folder that the archive was unpacked in; `mdr-tune data prepare` makes it."""

    @property
    def recall_ks(self) -> tuple[int, ...]:
        """The ranks K of the paper's table."""
        return RECALL_KS[self.name]


class _OwnDataConfig(_ImageFilesConfig):
    test: ClassShare | None = ClassFraction(fraction=0.3)
    """Classes held out for the final evaluation, where the data have no test split of their own."""
    single_image_classes: Literal["refuse", "drop"] = "refuse"
    """What becomes of classes with one image: there is nothing to retrieve, and no positive pair."""
    duplicates: Literal["refuse", "keep"] = "refuse"
    """What becomes of images with the same pixels in different splits: what is tested would have been trained on."""
    recall_at: list[Annotated[int, Field(ge=1)]] = Field([1, 2, 4, 8], min_length=1)
    """The ranks K at which Recall@K is measured."""

    @property
    def recall_ks(self) -> tuple[int, ...]:
        """The ranks K at which Recall@K is measured, ascending."""
        return tuple(sorted(set(self.recall_at)))

    def source_arguments(self) -> dict[str, Any]:
        """Return what the data set's source takes: plain values."""
        own = super().source_arguments()
        del own["recall_at"]
        return {**own, "recall_ks": list(self.recall_ks)}


class FolderDataConfig(_OwnDataConfig):
    """Your images: a folder of class folders, or of train, validation, test (or query, gallery) with class folders."""

    name: Literal["folder"]
    root: LocalPath


class TableDataConfig(_OwnDataConfig):
    """Your images, listed in a Parquet or CSV file: a path and a label a row, perhaps a split and a role."""

    name: Literal["table"]
    file: LocalPath
    root: LocalPath | None = None
    """The folder that paths are relative to; null: the folder of `file`."""
    path_column: str = "path"
    label_column: str = "label"
    split_column: str | None = None
    """Column of train, validation, test, query or gallery; the last two are a test split's. null: no such column, and
    classes are drawn."""
    role_column: str | None = None
    """Column of query or gallery; an empty cell is both."""

    def source_arguments(self) -> dict[str, Any]:
        """Return what the data set's source takes: plain values."""
        return {**super().source_arguments(), "root": self.root or str(Path(self.file).parent)}


DataConfig = Annotated[
    Annotated[GlyphsDataConfig, Tag(tag("glyphs"))]
    | Annotated[BenchmarkDataConfig, Tag(tag("cub200"))]
    | Annotated[BenchmarkDataConfig, Tag(tag("cars196"))]
    | Annotated[BenchmarkDataConfig, Tag(tag("sop"))]
    | Annotated[BenchmarkDataConfig, Tag(tag("inshop"))]
    | Annotated[FolderDataConfig, Tag(tag("folder"))]
    | Annotated[TableDataConfig, Tag(tag("table"))],
    Discriminator(choose_by_name("glyphs")),
    BeforeValidator(by_name),
]


class _DataSection(StrictModel):
    data: DataConfig


def read_data(name: str, keys: Mapping[str, Any]) -> DataConfig:
    """Return a data set's section, checked, with its defaults.

    Args:
        name: one of `mdr_tune.config.catalog.DATASETS`.
        keys: what a sweep file has below `trial.data`, beside the name.

    Raises:
        UserError: With a line for each key that is not as it should be.
    """
    try:
        return _DataSection.model_validate({"data": {"name": name, **keys}}).data
    except ValidationError as error:
        raise UserError("\n".join(lines_of(error, _DataSection))) from None
