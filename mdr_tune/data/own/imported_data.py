"""Open the user's own data set, which a sweep file names by an import path such as `my_data:Parts`.

Called with its arguments, the class or function returns an object with a method `split(name)`. For `train` and `test`,
and perhaps `validation`, the method returns (images, labels). Images are uint8 (n, 1 or 3, H, H): a numpy array, a
memory map or a tensor. Labels are n whole numbers or texts. A class is in one split only. If `split("validation")`
returns None, some training classes are held out for validation.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from mdr_tune.data.dataset import SPLIT_NAMES, ImageDataset, Images, ImageSplit, OpenedDataset
from mdr_tune.data.listings.class_split import check_nothing_given, draw_classes
from mdr_tune.util.call_arguments import call, call_arguments
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import FAILURES, CodeError, defined_at, import_named, said

_HASHED_AT_ONCE = 1024


def open_imported(name: str, arguments: Mapping[str, Any], validation: Mapping[str, Any]) -> OpenedDataset:
    """Return the data set with the import path `name`, made with the keyword `arguments`. Equal calls return it again.

    `validation` has arguments of `draw_classes`, for a data set without a validation split.

    Raises:
        CodeError: the data set cannot be made, or a split has another form than the head of this module says.
    """
    given = (json.dumps(dict(one), sort_keys=True, default=str) for one in (arguments, validation))
    found = _open(name, import_named(name), *given)
    if isinstance(found, CodeError):
        raise found
    return found


@lru_cache(maxsize=16)
def _open(name: str, function: Callable[..., Any], arguments: str, validation: str) -> OpenedDataset | CodeError:
    try:
        given = call_arguments(function).check(name, json.loads(arguments))
        source = call(name, function, given)
        try:
            parts = {split: source.split(split) for split in SPLIT_NAMES}
        except FAILURES as error:
            raise CodeError(f"{name} fails: {said(error)}") from None
        where = f"{name}{defined_at(type(source).split)}"
        splits: dict[str, tuple[Any, np.ndarray]] = {
            split: _checked(where, split, part) for split, part in parts.items() if part is not None
        }
        if missing := {"train", "test"} - splits.keys():
            raise CodeError(f"{where} returns None for {min(missing)}: return (images, labels)")
        return _numbered(name, where, splits, json.loads(validation))
    except CodeError as error:
        return error


def _checked(where: str, split: str, part: Any) -> tuple[Any, np.ndarray]:
    """Return the images and labels of `part`, which the user's method returned for `split`.

    If `part` is anything else, raise a CodeError that begins with `where`, the name and line of the method.
    """
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise CodeError(f"{where} returns a {type(part).__name__} for {split}: return (images, labels)")
    images, labels = part[0], np.asarray(part[1])
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4 or shape[1] not in (1, 3) or shape[2] != shape[3]:
        raise CodeError(f"{where}: images of {split} have the shape {shape}: return (n, 1 or 3, H, H)")
    if str(getattr(images, "dtype", "")).removeprefix("torch.") != "uint8":
        raise CodeError(f"{where}: images of {split} are {getattr(images, 'dtype', 'of no dtype')}: return uint8")
    if labels.shape != shape[:1] or labels.dtype.kind not in "iuUO" or len(labels) == 0:
        raise CodeError(
            f"{where}: labels of {split} have the shape {labels.shape} and the type {labels.dtype}, for {shape[0]} "
            "images: return one whole number or text an image"
        )
    return images, labels.astype(str) if labels.dtype.kind in "UO" else labels


def _numbered(
    name: str, where: str, splits: Mapping[str, tuple[Any, np.ndarray]], validation: Mapping[str, Any]
) -> OpenedDataset:
    """Return the data set `name`, made of `splits`: (images, labels) by split. Number all classes from 0.

    Without a validation split, draw its classes from train: `draw_classes(..., **validation)`. If images differ in
    shape, or splits share a class, raise a CodeError that begins with `where`, as in `_checked`.
    """
    shapes = {split: tuple(images.shape[1:]) for split, (images, _) in splits.items()}
    if len(set(shapes.values())) > 1:
        raise CodeError(f"{where}: the splits have images of several shapes ({shapes}): return one shape")
    rows = {split: np.arange(len(labels)) for split, (_, labels) in splits.items()}
    origin = {split: split for split in splits}
    try:
        check_nothing_given(len(rows.get("validation", ())), validation)
    except UserError as error:
        raise CodeError(str(error)) from None
    if "validation" not in splits:
        labels = splits["train"][1]
        known, ids = np.unique(labels, return_inverse=True)
        try:
            is_held_out = np.isin(ids, draw_classes(np.arange(len(known)), "validation", **validation))
        except UserError as error:
            raise CodeError(str(error)) from None
        rows |= {"train": np.flatnonzero(~is_held_out), "validation": np.flatnonzero(is_held_out)}
        origin["validation"] = "train"
    numbers: dict[Any, int] = {}
    made: dict[str, ImageSplit] = {}
    for split in SPLIT_NAMES:
        images, labels = splits[origin[split]]
        classes = np.unique(labels[rows[split]]).tolist()
        if twice := [one for one in classes if one in numbers]:
            raise CodeError(f"{where}: the class {twice[0]!r} of {split} is in another split, too: split by classes")
        numbers.update({one: len(numbers) + place for place, one in enumerate(classes)})
        numbered = torch.tensor([numbers[one] for one in labels[rows[split]].tolist()])
        made[split] = ImageSplit(_Rows(images, rows[split]), numbered)
    content = _content({split: (part.images, part.labels) for split, part in made.items()})
    searched = ImageDataset(name, {"train": made["train"], "validation": made["validation"]}, content=content)
    return OpenedDataset(searched, made["test"])


class _Rows:
    """The user's `images` at the indices `rows`, as `Images`."""

    dtype = torch.uint8

    def __init__(self, images: Any, rows: np.ndarray) -> None:
        self._images, self._rows = images, rows
        self.shape: tuple[int, ...] = (len(rows), *tuple(images.shape[1:]))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: torch.Tensor, /) -> torch.Tensor:
        """Return a copy of the images at `indices`, (m,) int64, as (m, C, H, W) uint8."""
        chosen = self._rows[indices.numpy()]
        if isinstance(self._images, torch.Tensor):
            return self._images[torch.from_numpy(chosen)].cpu()
        return torch.from_numpy(np.array(self._images[chosen]))


def _content(splits: Mapping[str, tuple[Images, torch.Tensor]]) -> str:
    """Return a hash of all images, labels and splits."""
    digest = hashlib.sha256()
    for split, (images, labels) in splits.items():
        digest.update(f"{split} {images.shape}".encode() + labels.numpy().tobytes())
        for rows in torch.arange(len(images)).split(_HASHED_AT_ONCE):
            digest.update(images[rows].numpy().tobytes())
    return digest.hexdigest()[:16]
