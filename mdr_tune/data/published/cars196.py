"""Cars-196 (Krause et al., 2013): cars by make, model and year, classes 1 to 98 for training and 99 to 196 for testing.

Copies have one of two layouts, with the same images under different names:
- that of the authors of MDR: cars_annos.mat and car_ims/000001.jpg ..;
- that of the devkit: devkit/cars_train_annos.mat, cars_test_annos_withlabels.mat, devkit/cars_meta.mat,
  cars_train/00001.jpg .. and cars_test/00001.jpg ...
Metric learning does not use the devkit's division into train and test, which puts images of each class into both.
"""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, Listing
from mdr_tune.data.published.benchmark import Archive, Benchmark, Count, find_home
from mdr_tune.util.errors import UserError

_TITLE = "Cars-196"
_HOMES = ("", "Cars196", "cars196", "CARS196", "stanford_cars")
_TRAINING_CLASSES = 98  # Oh Song et al., CVPR 2016 (arXiv 1511.06452), and all since
_ALL = "cars_annos.mat"
_TRAIN, _TEST, _META = "cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"
_WITHOUT_LABELS = "cars_test_annos.mat"
_LISTS = (_ALL, f"devkit/{_TRAIN}", _TRAIN)
# Errors that scipy raises on files that MATLAB did not write, or that were damaged since.
_UNREADABLE = (
    MatReadError,
    ValueError,
    TypeError,
    LookupError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    EOFError,
    zlib.error,
    struct.error,
)


def read(root: Path) -> Listing:
    """List the images of a copy of the data set, in the order of the annotations. Classes are in the order of the ids.

    In the devkit's layout, images of cars_train come first. `root` is the folder of the data set, or a folder that
    holds it. It is a UserError if there is no copy, or if its annotations are incomplete or cannot be read.
    """
    home = find_home("cars196", _TITLE, root, _HOMES, _LISTS)
    if (home / _ALL).is_file() and ((home / "car_ims").is_dir() or not _in_devkit(home, _TRAIN).is_file()):
        files, ids = _read_annotations(home / _ALL, "relative_im_path")
        paths, names = tuple(files), _read_class_names(home / _ALL)
    else:
        paths, ids = _read_devkit(home)
        names = _read_class_names(_in_devkit(home, _META))
    if len(wrong := np.flatnonzero((ids < 1) | (ids > len(names)))):
        raise UserError(
            f"data.root: the annotations in {home} give {paths[wrong[0]]} the class {ids[wrong[0]]}, but there are "
            f"{len(names)} class names: unpack the data set anew"
        )
    return Listing(
        root=home,
        paths=paths,
        class_ids=ids - 1,
        class_names=names,
        splits=np.where(ids <= _TRAINING_CLASSES, SPLIT_NAMES.index("train"), SPLIT_NAMES.index("test")).astype(
            np.int8
        ),
        roles=np.full(len(paths), BOTH, dtype=np.int8),
    )


def _read_devkit(home: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the paths of the devkit's images, relative to `home`, and the ids of their classes, (n,) int64 from 1."""
    if not _in_devkit(home, _TEST).is_file():
        without = _in_devkit(home, _WITHOUT_LABELS)
        there = f" {without} is there, but has no labels." if without.is_file() else ""
        raise UserError(
            f"data.root: {home / _TEST} is missing, which says what is on the devkit's test images.{there} "
            f"Put {_TEST} there or into {home / 'devkit'}: copies of the data set that lack it are incomplete"
        )
    paths: list[str] = []
    ids = []
    for name, folder in ((_TRAIN, "cars_train"), (_TEST, "cars_test")):
        files, classes = _read_annotations(_in_devkit(home, name), "fname")
        twice = f"{folder}/{folder}"  # the layout of Kaggle's copy
        paths += [f"{twice if (home / twice).is_dir() else folder}/{file}" for file in files]
        ids.append(classes)
    return tuple(paths), np.concatenate(ids)


def _in_devkit(home: Path, name: str) -> Path:
    """Return the path of the devkit's file `name`, which may lie in `home` itself or in the folder devkit."""
    return home / name if (home / name).is_file() else home / "devkit" / name


def _read_annotations(path: Path, file_field: str) -> tuple[list[str], np.ndarray]:
    """Return the names of images (field `file_field`) in the annotation file `path`, and their class ids from 1."""
    annotations = _load(path, "annotations")
    missing = [name for name in (file_field, "class") if name not in (annotations.dtype.names or ())]
    if missing:
        raise UserError(f"data.root: {path} has no {' and no '.join(missing)} among its annotations: take another copy")
    try:
        return list(map(str, annotations[file_field])), np.array(annotations["class"].tolist(), dtype=np.int64)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _read_class_names(path: Path) -> tuple[str, ...]:
    return tuple(map(str, _load(path, "class_names")))


def _load(path: Path, variable: str) -> np.ndarray:
    """Return `variable` of the MATLAB file at `path` as a one-dimensional array."""
    try:
        with path.open("rb") as file:
            content: dict[str, Any] = scipy.io.loadmat(file, squeeze_me=True, variable_names=[variable])
    except FileNotFoundError:
        raise UserError(f"data.root: there is no {path}, which belongs to the data set: unpack it anew") from None
    except (OSError, *_UNREADABLE) as error:
        raise _unreadable(path, error) from None
    if variable not in content:
        raise UserError(f"data.root: {path} has no {variable}: it is another file than the published one")
    return np.atleast_1d(content[variable])


def _unreadable(path: Path, error: BaseException) -> UserError:
    return UserError(
        f"data.root: cannot read {path} ({error or type(error).__name__}): it is damaged or no MATLAB file; get it anew"
    )


CARS196 = Benchmark(
    name="cars196",
    title=_TITLE,
    read=read,
    expected={"train": Count(8_054, 98), "test": Count(8_131, 98)},
    # The URLs are those of the authors of MDR. The host has stopped serving the files, but their MD5s are known.
    archives=(
        Archive(
            name=_ALL,
            makes=(_ALL, f"devkit/{_TRAIN}", _TRAIN),
            urls=(f"http://imagenet.stanford.edu/internal/car196/{_ALL}",),
            md5="b407c6086d669747186bd1d764ff9dbc",
        ),
        Archive(
            name="car_ims.tgz",
            makes=("car_ims", "cars_train"),
            urls=("http://imagenet.stanford.edu/internal/car196/car_ims.tgz",),
            md5="d5c8f0aa497503f355e17dc7886c3f14",
        ),
    ),
    homes=_HOMES,
    by_hand=(
        "The host that used to serve it no longer does. Copies are about: "
        "http://ftp.cs.stanford.edu/cs/cvgl/CARS196.zip in this layout, and on Kaggle and elsewhere, as Stanford Cars, "
        f"in the devkit's: devkit/{_TRAIN}, devkit/{_META}, {_TEST}, cars_train/ and cars_test/, which works as well"
    ),
)
