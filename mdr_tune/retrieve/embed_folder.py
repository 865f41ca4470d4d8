"""Embed images in batches while threads decode the next ones; embed a folder of images into a file."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from mdr_tune import __version__
from mdr_tune.data.images.corrupt import finding
from mdr_tune.data.images.decoding import CorruptImageError, UnreadableFileError
from mdr_tune.data.images.thread_map import PacedProgress, thread_map
from mdr_tune.metric.ranking import NOT_RANKED, can_be_ranked
from mdr_tune.retrieve.embedder import Embedder
from mdr_tune.retrieve.index_file import IndexInfo, writing_index
from mdr_tune.retrieve.pictures import class_labels, list_images
from mdr_tune.util.cpus import threads_to_start
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress, no_progress

BATCH_SIZE = 64


class LeftOut(NamedTuple):
    """An image at `path` that could not be read and has no embedding, with the `reason` in a few words."""

    path: str
    reason: str


class EmbeddedBatch(NamedTuple):
    """Embeddings of one batch of images, and the images of the batch that were left out.

    `rows` are the indices of the n embedded images in the argument `paths` of `embed_images`, from 0. `embeddings` are
    (n, D) float32, on the CPU.
    """

    rows: list[int]
    embeddings: torch.Tensor
    left_out: list[LeftOut]


@dataclass(frozen=True)
class Embedded:
    """Result of embedding a folder: the number of `images` in the index file, and the images that were left out."""

    images: int
    left_out: list[LeftOut]


def embed_images(
    embedder: Embedder,
    root: Path,
    paths: Sequence[str],
    batch_size: int = BATCH_SIZE,
    progress: Progress = no_progress,
) -> Iterator[EmbeddedBatch]:
    """Yield the embeddings that `embedder` computes of the image files `paths`, in order, in batches of `batch_size`.

    An image that cannot be read is listed in the `left_out` of its batch. At most two batches of images are in memory
    at a time, or four images for each thread if this is more.

    Args:
        root: Folder to which relative paths in `paths` are relative. Absolute paths are used as they are.
        progress: Function that is told how many images are done; see `Progress`.

    Raises:
        UserError: An embedding is not finite, or is too large to be compared, because the model is broken.
    """
    paced = PacedProgress(progress, "embedding images", len(paths))
    ahead = max(2 * batch_size, 4 * threads_to_start())
    with thread_map(partial(_read, embedder, root), paths, ahead=ahead) as pictures:
        for start in range(0, len(paths), batch_size):
            batch = range(start, min(start + batch_size, len(paths)))
            read = [next(pictures) for _ in batch]
            kept = [(row, image) for row, image in zip(batch, read, strict=True) if isinstance(image, torch.Tensor)]
            embeddings = torch.empty(0, embedder.size)
            if kept:
                embeddings = embedder.embed(torch.stack([image for _, image in kept]))
            if not can_be_ranked(embeddings):
                raise UserError(f"the model {embedder.uri} gives {NOT_RANKED}: take another one")
            yield EmbeddedBatch([row for row, _ in kept], embeddings, [o for o in read if isinstance(o, LeftOut)])
            paced.advance(len(batch))


def embed_folder(
    embedder: Embedder,
    folder: Path,
    file: Path,
    *,
    batch_size: int = BATCH_SIZE,
    strict: bool = False,
    progress: Progress = no_progress,
    paths: Sequence[str] | None = None,
) -> Embedded:
    """Embed all images in `folder` and in the folders below it with `embedder` into the Parquet file `file`.

    The file has a row for each image that can be read: `path` relative to the folder, `label` (see `class_labels`) and
    `embedding`, D numbers. The file appears only when it is complete, and replaces an earlier file of that name. Only
    the paths and labels of all images are in memory, not their embeddings.

    Args:
        batch_size: Number of images that go through the network at a time, at least 1.
        strict: Whether to stop at the first image that cannot be read.
        progress: Function that is told how many images are done; see `Progress`.
        paths: Result of `list_images` for the folder, if the caller has it already. Rows are in the order of the paths.

    Raises:
        UserError: No image can be read, an image cannot be read although `strict` is set, an embedding is not finite or
            too large, or the file cannot be written.
    """
    paths = list_images(folder) if paths is None else paths
    labels = class_labels(paths)
    left_out: list[LeftOut] = []
    with writing_index(file, _info(embedder, folder), embedder.size) as index:
        for batch in embed_images(embedder, folder, paths, batch_size, progress):
            left_out += batch.left_out
            if strict and left_out:
                path, reason = left_out[0]
                raise UserError(f"{folder}: {path} cannot be decoded ({reason}): mend or delete it")
            index.add([paths[row] for row in batch.rows], [labels[row] for row in batch.rows], batch.embeddings)
        if len(left_out) == len(paths):
            raise UserError(f"{folder}: {finding(left_out, len(paths))}")
    return Embedded(len(paths) - len(left_out), left_out)


def _read(embedder: Embedder, root: Path, path: str) -> torch.Tensor | LeftOut:
    try:
        return embedder.read(root / path)
    except CorruptImageError as error:
        return LeftOut(path, error.reason)
    except UnreadableFileError as error:
        cause = error.__cause__
        return LeftOut(path, str(getattr(cause, "strerror", None) or cause).lower())


def _info(embedder: Embedder, folder: Path) -> IndexInfo:
    return IndexInfo(
        model=embedder.uri,
        identity=embedder.identity,
        run_id=embedder.run_id,
        root=str(folder.absolute()),
        image_shape=embedder.image_shape,
        resize=embedder.resize,
        interpolation=embedder.interpolation,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=__version__,
    )
