"""The data sets that a sweep file may name: the keys of each, and the code that opens it. To add one, add a class here.

The code that reads images is in `mdr_tune.data`. A sweep file is checked before torch is imported, so each method
imports the modules that it needs.
"""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from mdr_tune.config.augmentations import Interpolation
from mdr_tune.config.explain import lines_of
from mdr_tune.config.own_arguments import arguments_of, at_its_key, check_call
from mdr_tune.config.strict_model import KeyProblem, Named, OpenModel, StrictModel, added, flatten, members, one_of, tag
from mdr_tune.config.units import SHARE
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import is_import_path
from mdr_tune.util.nearest_name import unknown_name
from mdr_tune.util.progress import Progress
from mdr_tune.util.words import not_utf_8

if TYPE_CHECKING:
    from mdr_tune.data.dataset import OpenedDataset
    from mdr_tune.data.listings.open_listing import ListedDataset
    from mdr_tune.data.outline import DatasetOutline
    from mdr_tune.data.published.benchmark import Benchmark

_NO_PATHS = (
    (r"[A-Za-z][A-Za-z0-9+.-]+://", "is an address, and files are read from this machine's disks: copy or mount them"),
    (r"[A-Za-z]:[\\/]", "is a path of Windows: write where that folder is mounted here, with slashes"),
    (r"\$\{?[A-Za-z_]\w*\}?(/|$)|%\w+%", "begins with a variable, which only a shell replaces: write it out"),
)
"""Patterns of texts that are likely no paths of this machine, with the end of the message about each. A text that
matches is accepted if a file of that name exists."""


def local_path(path: str) -> str:
    """Return `path` as an absolute path, since workers have another working directory than the user.

    Raise ValueError if `path` is likely no path of this machine, such as a URL, or is not UTF-8.
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
    """A share of the classes that is drawn at random and held out."""

    fraction: Annotated[float, SHARE] = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    """Seed of the draw. It does not depend on `trial.seed`, so that trials are compared on the same classes."""


class ClassFold(StrictModel):
    """Hold out part `fold`, from 0, of `folds` equal parts of the classes. `search.folds` trains all of them."""

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


class Dataset(Named):
    """A data set that a sweep file may name.

    The methods of this class are the defaults for data that are neither published nor image files.

    Attributes:
        usual_ks: Ranks K at which papers report Recall@K on this data set.
        best_augmentation: Name of the augmentation that `augmentation: auto` stands for.
        is_published: True if `fetch` downloads the data set, or says where to get it.
        holds_images: True for images; False for vectors, which go to the embedding layer as they are.
        model_input: Input of a model that was trained on the data, such as `uint8 images (n, C, H, W)`.
    """

    usual_ks: ClassVar[tuple[int, ...]] = (1, 2, 4, 8)
    best_augmentation: ClassVar[str] = "random_resized_crop"
    is_published: ClassVar[bool] = False
    holds_images: ClassVar[bool] = True
    model_input: ClassVar[str] = "uint8 images (n, C, H, W)"

    @property
    def recall_ks(self) -> tuple[int, ...]:
        """The ranks K at which Recall@K is measured, ascending."""
        return self.usual_ks

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images that the network sees."""
        raise NotImplementedError

    @property
    def chosen_resize(self) -> int | None:
        """Height and width, in pixels, that every image is resized to; None: images keep their size."""
        return None

    @property
    def chosen_image_size(self) -> int | None:
        """Height and width, in pixels, of the part that the network sees; None: the whole image."""
        return None

    @property
    def chosen_interpolation(self) -> Interpolation:
        """Filter by which images are resized. An image file is resized for a model of any data set."""
        return "lanczos"

    def source_arguments(self) -> dict[str, Any]:
        """Return, by key, all values that the reading and the splitting of the images depend on."""
        return self.arguments()

    def measured_on(self) -> dict[str, Any]:
        """Return, by dotted key, the values that trials must have in common to be measured on the same images."""
        return flatten(self.model_dump())

    def describe_evaluation(self) -> str:
        """Return a text on how much of an image an evaluation sees; an empty text if it sees the whole image."""
        return ""

    def evaluation_note(self) -> str:
        """Return a note with advice if an evaluation sees only a small part of each image; else an empty text."""
        return ""

    def fetch(self, progress: Progress) -> None:
        """Download the files of a published data set, and report to `progress`; do nothing for any other data set.

        If the files cannot be downloaded, the message of the UserError says which files the user has to put where.
        """

    def outline(self) -> "DatasetOutline | None":
        """Return the number of images of each class of each split; None if unknown before the files are listed."""
        return None

    def listed(self) -> "ListedDataset | None":
        """List the image files, draw the splits, and check both. Return None if the images are not in files.

        Raise UserError if image files are missing, or do not fit the keys.
        """
        return None

    def open(self, folder: Path, progress: Progress) -> "OpenedDataset":
        """Open a data set for which `listed` returns None, with the cache `folder`, and report to `progress`."""
        raise NotImplementedError


class GlyphsDataConfig(Dataset):
    """Rendered letters that need no download: grey images of 32 x 32 pixels, in fixed splits."""

    name: Literal["glyphs"] = "glyphs"
    validation: ClassShare | None = added(None)
    """Classes that are held out for validation, of all classes that are not test classes. null: the fixed 207 classes
    of the data set."""
    best_augmentation = "affine"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images. The network sees whole images."""
        return (1, 32, 32)

    def outline(self) -> "DatasetOutline":
        """Return the number of images of each class of each split. Raise UserError if `validation` cannot be drawn."""
        from mdr_tune.data.outline import GLYPHS, SplitOutline

        if self.validation is None:
            return GLYPHS
        from mdr_tune.data.listings.class_split import draw_classes

        sizes = GLYPHS.train.class_sizes + GLYPHS.validation.class_sizes
        drawn = draw_classes(range(len(sizes)), "validation", **self.validation.model_dump()).tolist()
        left = tuple(size for one, size in enumerate(sizes) if one not in set(drawn))
        held_out = SplitOutline(tuple(sizes[one] for one in drawn))
        return replace(GLYPHS, train=SplitOutline(left), validation=held_out)

    def open(self, folder: Path, progress: Progress) -> "OpenedDataset":
        """Return the data set of letters. They are rendered if the cache `folder` lacks them."""
        from mdr_tune.data.glyphs.glyphs import open_glyphs

        return open_glyphs(folder, None if self.validation is None else self.validation.model_dump())


_USUAL_RESIZE, _USUAL_IMAGE_SIZE = 256, 224
USUAL_RESIZE_PER_IMAGE_SIZE = _USUAL_RESIZE / _USUAL_IMAGE_SIZE
"""Edge of the resized image divided by the edge of the part that is cut out of it, as in the code of MDR's authors."""
LEAST_PX, MOST_PX = 8, 2048
SIZES = ("image_size", "resize")
SIZED_BY_NETWORK = ("folder", "table")
"""Names of the data sets for which a sweep file that sets none of `SIZES` means those of the network's configuration.
The others have the sizes of MDR's authors, or images of one size."""
_LEAST_SEEN = 0.8
"""Share of an image's width and height. If an evaluation sees less of an image, a note says so."""


Pixels = Annotated[
    Annotated[Literal["auto"], Tag(tag("auto"))] | Annotated[int, Field(ge=LEAST_PX, le=MOST_PX), Tag(tag("pixels"))],
    Discriminator(lambda value: tag("auto" if value == "auto" else "pixels")),
]


class _ImageFiles(Dataset):
    resize: Pixels = "auto"
    """Height and width, in pixels, that every image is resized to, and then cached. `auto`: `image_size` * 256 / 224,
    the ratio that MDR's authors use."""
    image_size: Pixels = "auto"
    """Height and width, in pixels, of the part that the network sees: a random crop in training, the centre of the
    image in evaluation. `auto`: `resize` * 224 / 256."""
    interpolation: Interpolation = added("lanczos")
    """Filter by which every image is resized to `resize`. MDR's authors use Lanczos'."""
    cache: bool = True
    """true: resized images are kept on disk; false: images are decoded each time they are read, which is slow."""
    corrupt: Literal["refuse", "skip"] = "refuse"
    """Treatment of images that cannot be decoded. `refuse`: they are an error; `skip`: they are left out."""
    validation: ClassShare = ClassFraction()
    """Classes that are held out of the training classes. Trials are compared on them."""

    @model_validator(mode="after")
    def _fits_together(self) -> "_ImageFiles":
        size, resize = self.chosen_image_size, self.chosen_resize
        if size > resize:
            raise KeyProblem("image_size", f"{size} is more than resize ({resize}), which it is cut out of: raise it")
        if self.corrupt == "skip" and not self.cache:
            raise KeyProblem("corrupt", "skip needs the cache, whose making finds the corrupt images: set cache: true")
        return self

    def source_arguments(self) -> dict[str, Any]:
        """Return, by key, all values that reading and splitting depend on. `resize: auto` is replaced by a number."""
        kept = self.model_dump(exclude={"name", "image_size", "recall_at"})
        return {**kept, "resize": self.chosen_resize, "recall_ks": list(self.recall_ks)}

    @property
    def chosen_resize(self) -> int:
        """Height and width, in pixels, that every image is resized to. `auto` is replaced by a number."""
        if self.resize != "auto":
            return self.resize
        if self.image_size == "auto":
            return _USUAL_RESIZE
        return max(self.image_size, min(MOST_PX, round(self.image_size * USUAL_RESIZE_PER_IMAGE_SIZE)))

    @property
    def chosen_image_size(self) -> int:
        """Height and width, in pixels, of the part that the network sees. `auto` is replaced by a number."""
        if self.image_size != "auto":
            return self.image_size
        return max(LEAST_PX, round(self.chosen_resize / USUAL_RESIZE_PER_IMAGE_SIZE))

    @property
    def chosen_interpolation(self) -> Interpolation:
        """Filter by which every image is resized to `chosen_resize`."""
        return self.interpolation

    def describe_evaluation(self) -> str:
        """Return a text on how much of an image an evaluation sees."""
        seen, whole = self.chosen_image_size, self.chosen_resize
        return f"the middle {seen} x {seen} of {whole} x {whole} pixels, {seen / whole:.0%} of width and height"

    def evaluation_note(self) -> str:
        """Return a note with advice if an evaluation sees only a small part of each image; else an empty text."""
        if self.chosen_image_size >= _LEAST_SEEN * self.chosen_resize:
            return ""
        return f"an evaluation sees {self.describe_evaluation()}: to see more, set trial.data.resize: auto"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the part that the network sees. C is 3, since files are read as RGB."""
        return (3, self.chosen_image_size, self.chosen_image_size)

    def measured_on(self) -> dict[str, Any]:
        """Return, by dotted key, the values that trials must have in common to be measured on the same images.

        The keys for resizing, cropping and caching are left out.
        """
        return flatten(self.model_dump(exclude={"image_size", "resize", "interpolation", "cache"}))


class Published(_ImageFiles):
    """A data set of the MDR paper, with its published files and with the paper's split of the classes."""

    root: LocalPath = Field(DEFAULT_ROOT, validate_default=True)
    """Folder in which the published archive is unpacked. `mdr-tune data prepare` makes it."""
    is_published = True

    def benchmark(self) -> "Benchmark":
        """Return the description of the published files: from where they are downloaded, and their layout."""
        raise NotImplementedError

    def fetch(self, progress: Progress) -> None:
        """Download the published files to `root`, unless they are there, and report to `progress`."""
        from mdr_tune.data.published.fetch import fetch

        fetch(self.benchmark(), Path(self.root), progress)

    def listed(self) -> "ListedDataset":
        """List the images below `root`. Raise UserError if the files of the data set are not complete."""
        return self.benchmark().listed(**self.source_arguments())


class CUB200DataConfig(Published):
    """CUB-200-2011 (Wah et al., 2011): birds."""

    name: Literal["cub200"]
    usual_ks = (1, 2, 4, 8)

    def benchmark(self) -> "Benchmark":
        """Return the description of CUB-200-2011's files."""
        from mdr_tune.data.published.cub200 import CUB200

        return CUB200


class Cars196DataConfig(Published):
    """Cars-196 (Krause et al., 2013): cars by make, model and year."""

    name: Literal["cars196"]
    usual_ks = (1, 2, 4, 8)

    def benchmark(self) -> "Benchmark":
        """Return the description of Cars-196's files."""
        from mdr_tune.data.published.cars196 import CARS196

        return CARS196


class SOPDataConfig(Published):
    """Stanford Online Products (Oh Song et al., CVPR 2016): products from an online shop."""

    name: Literal["sop"]
    usual_ks = (1, 10, 100, 1000)

    def benchmark(self) -> "Benchmark":
        """Return the description of SOP's files."""
        from mdr_tune.data.published.sop import SOP

        return SOP


class InShopDataConfig(Published):
    """In-Shop Clothes Retrieval (Liu et al., CVPR 2016): garments, with queries and a gallery."""

    name: Literal["inshop"]
    usual_ks = (1, 10, 20, 30, 40)

    def benchmark(self) -> "Benchmark":
        """Return the description of In-Shop's files."""
        from mdr_tune.data.published.inshop import INSHOP

        return INSHOP


class _OwnClasses(Dataset):
    validation: ClassShare = ClassFraction()
    """Classes that are held out of the training classes. Trials are compared on them."""
    test: ClassShare | None = ClassFraction(fraction=0.3)
    """Classes held out for the final evaluation, if the data have no test split of their own."""
    single_image_classes: Literal["refuse", "drop"] = "refuse"
    """Treatment of classes with a single image. Such a class has no positive pair, and its image as a query has nothing
    to find. `refuse`: they are an error; `drop`: they are left out."""
    recall_at: list[Annotated[int, Field(ge=1)]] = Field([1, 2, 4, 8], min_length=1)
    """The ranks K at which Recall@K is measured."""
    pairs: LocalPath | None = added(None)
    """File with pairs of test images, and perhaps of validation images, that `metrics.verification` compares: CSV or
    Parquet with the columns `first`, `second` (paths; rows of `features`) and `same` (1 or 0). null: all pairs."""

    @property
    def recall_ks(self) -> tuple[int, ...]:
        """The ranks K at which Recall@K is measured, ascending."""
        return tuple(sorted(set(self.recall_at)))


class _Own(_ImageFiles, _OwnClasses):
    duplicates: Literal["refuse", "keep"] = "refuse"
    """Treatment of images with the same pixels in different splits: a test would use images that were trained on.
    `refuse`: they are an error; `keep`: they are kept, with a warning."""


class FolderDataConfig(_Own):
    """Your images, in a folder for each class. Class folders may be in folders of splits: train, validation, test."""

    name: Literal["folder"]
    root: LocalPath

    def listed(self) -> "ListedDataset":
        """List the images below `root`."""
        from mdr_tune.data.own.folder import listed_folder

        return listed_folder(**self.source_arguments())


class TableDataConfig(_Own):
    """Your images, listed in a Parquet or CSV file. A row has a path and a label, and may have a split and a role."""

    name: Literal["table"]
    file: LocalPath
    root: LocalPath | None = None
    """Folder to which the paths in the table are relative. null: the folder of `file`."""
    path_column: str = "path"
    label_column: str = "label"
    split_column: str | None = None
    """Column with the split of each image: train, validation, test, query or gallery. Query and gallery are parts of a
    test split. null: there is no such column, and the classes of each split are drawn at random."""
    role_column: str | None = None
    """Column with the role of each image: query or gallery. An image with an empty cell has both roles."""

    def source_arguments(self) -> dict[str, Any]:
        """Return, by key, all values that reading and splitting depend on. `root: null` is the folder of `file`."""
        return {**super().source_arguments(), "root": self.root or str(Path(self.file).parent)}

    def listed(self) -> "ListedDataset":
        """List the images in the rows of the table."""
        from mdr_tune.data.own.table import listed_table

        return listed_table(**self.source_arguments())


class FeaturesDataConfig(_OwnClasses):
    """Vectors that another model made, in a Parquet file. A row has a vector and a label, perhaps a split and a role.

    The index that `mdr-tune embed` writes is such a file. The vectors are the features, so that `backbone` is
    `identity`, and a trial trains the embedding layer alone.
    """

    name: Literal["features"]
    file: LocalPath
    vector_column: str = "embedding"
    """Column with the vectors: lists of numbers, all of one length."""
    label_column: str = "label"
    split_column: str | None = None
    """Column with the split of each vector, as for `table`. null: the classes of each split are drawn at random."""
    role_column: str | None = None
    """Column with the role of each vector, query or gallery, as for `table`."""
    best_augmentation = "none"
    holds_images = False
    model_input = "float32 vectors (n, F)"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (1, 1, F) of a vector of F numbers, which is read like a picture of one row."""
        from mdr_tune.data.own.vector_table import vector_size

        return (1, 1, vector_size(**self.source_arguments()))

    def source_arguments(self) -> dict[str, Any]:
        """Return, by key, all values that the reading and the splitting of the vectors depend on."""
        return {**self.model_dump(exclude={"name", "recall_at"}), "recall_ks": list(self.recall_ks)}

    def outline(self) -> "DatasetOutline":
        """Return the number of vectors of each class of each split, after a check of all vectors."""
        from mdr_tune.data.own.vector_table import outline_vectors

        return outline_vectors(**self.source_arguments())

    def open(self, folder: Path, progress: Progress) -> "OpenedDataset":
        """Return the data set of vectors, mapped from a file in the cache `folder`. The first call writes this file."""
        from mdr_tune.data.own.vector_table import open_vectors

        return open_vectors(folder, progress, **self.source_arguments())


class ImportedDataConfig(Dataset, OpenModel):
    """The user's own data set: `name` is its import path, such as `my_data:Parts`, and other keys are its arguments.

    A data set has a method `split(name)`, see `data.own.imported_data`. The network sees whole images.
    """

    name: str
    validation: ClassShare = ClassFraction()
    """Classes that are held out of the training classes, if the data set has no validation split."""
    takes_import_path = True
    best_augmentation = "affine"

    @model_validator(mode="after")
    def _opens(self) -> "ImportedDataConfig":
        check_call(self.name, self._given)
        with at_its_key():
            self._opened()
        return self

    @property
    def _given(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def _opened(self) -> "OpenedDataset":
        from mdr_tune.data.own.imported_data import open_imported  # here: it imports torch

        return open_imported(self.name, self._given, self.validation.model_dump())

    def known_arguments(self) -> list[str]:
        """Return the names of the arguments that `name` takes: those of its signature, and any given to `**kwargs`."""
        taken = arguments_of(self.name)
        return list({**({} if taken is None else taken.defaults), **self._given})

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the images."""
        channels, height, width = self._opened().searched.image_shape
        return (channels, height, width)

    def outline(self) -> "DatasetOutline":
        """Return the number of images of each class of each split."""
        return self._opened().outline()

    def open(self, folder: Path, progress: Progress) -> "OpenedDataset":
        """Return the user's data set, opened before. `folder` and `progress` are not used."""
        return self._opened()


if TYPE_CHECKING:
    DataConfig = Dataset
else:
    DataConfig = one_of(Dataset, default="glyphs")


class _DataSection(StrictModel):
    data: DataConfig


def read_data(name: str, **keys: Any) -> Dataset:
    """Check the `keys` of the data set `name`, such as `cub200`, and return it for `mdr_tune.data.load_dataset`.

    The keys are those of the section `trial.data` in a sweep file (docs/sweep_file.md), with the same defaults.

    Raises:
        UnknownName: There is no data set of this name. The message lists the known names.
        UserError: A key is unknown or its value is not valid. The message has a line for each problem.
    """
    if name not in (known := members(Dataset)) and not is_import_path(name):
        raise unknown_name("data set", name, known)
    try:
        return _DataSection.model_validate({"data": {"name": name, **keys}}).data
    except ValidationError as error:
        raise UserError("\n".join(lines_of(error, _DataSection))) from None
