"""Check and prepare weights and data sets on this machine, before the first worker starts."""

import contextlib
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mdr_tune.backbones.families import family_of
from mdr_tune.config.arms import data_variants
from mdr_tune.config.datasets import DataConfig
from mdr_tune.config.overrides import override
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.sweep_file import Source, read_tree
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.sweep.data_fit import backbone_problems, size_notes, size_problems
from mdr_tune.sweep.model_fit import model_problems
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress
from mdr_tune.util.text_forms import NamesOnDisk, one_form

SLOW_S = 1.0
"""Seconds after which the user is told that the files of a data set are still being looked at."""


def check_weights(sweep: SweepConfig) -> None:
    """Check that the weights of `sweep` are published, or are sound files of the user. Nothing is downloaded.

    Raises:
        UserError: No weights with a given name are published, or a file is missing, damaged or of another architecture.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.weights == "none" or (backbone.weights == "DEFAULT" and not backbone.pretrained):
            continue
        from mdr_tune.backbones import build_backbone, check_weights

        check_weights(backbone.name, backbone.weights)
        if os.path.isabs(backbone.weights):  # the user's own file
            size = sweep.trial.data.input_shape[-1]
            build_backbone(backbone.name, backbone.weights, image_size=size, arguments=backbone.arguments)


def weights_used(sweep: SweepConfig) -> list[str]:
    """Return a text for each of `sweep`'s backbones with trained weights: which they are, and where their file is."""
    texts = []
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.takes_published_weights:
            from mdr_tune.backbones import where_weights_are

            texts.append(f"{backbone.name}: {where_weights_are(backbone.name, backbone.weights)}")
        elif os.path.isabs(backbone.weights):
            texts.append(f"{backbone.name}: {backbone.weights}")
    return list(dict.fromkeys(texts))


def resize_notes(sweep: SweepConfig) -> list[str]:
    """Return a note for each pretrained backbone of `sweep` that was made for images resized in another way."""
    notes = []
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        own = family_of(backbone.name).own_images(backbone.name, backbone.arguments) if backbone.pretrained else {}
        for data in section_variants(sweep.trial, sweep.space, "data") if own else ():
            used = {
                "image_size": data.chosen_image_size,
                "resize": data.chosen_resize,
                "interpolation": data.chosen_interpolation,
            }
            if data.chosen_resize is not None and own != {key: used[key] for key in own}:
                here = _keys({key: used[key] for key in own})
                notes.append(f"trial.data: {here}; {backbone.name} was made for {_keys(own)}")
    return list(dict.fromkeys(notes))


def _keys(data: dict[str, Any]) -> str:
    """Return the keys of a data set as text, such as `image_size 224, resize 256`."""
    return ", ".join(f"{key} {value}" for key, value in data.items())


def draws_may_be_local(sweep: SweepConfig) -> bool:
    """Return whether a backbone of `sweep` may have layers that draw random numbers for each worker separately."""
    backbones = section_variants(sweep.trial, sweep.space, "backbone")
    return any(not family_of(backbone.name).draws_by_known_layers() for backbone in backbones)


def prepare_weights(sweep: SweepConfig, stage: Callable[[str], None]) -> None:
    """Get the pretrained weights of `sweep`'s backbones onto this node; `stage` is called with each slow step.

    Raises:
        UserError: Weights cannot be obtained. The message says what to do.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.pretrained:
            stage(f"looking for the weights of {backbone.name}")
            from mdr_tune.backbones import fetch_weights

            fetch_weights(backbone.name, backbone.weights)


def check_data(
    sweep: SweepConfig, tell: Callable[[str], None] = lambda text: None
) -> tuple[list[str], DatasetOutline | None]:
    """Check that `sweep`'s data set can be split, and fits its models, batches and metrics.

    No image is decoded. Images that were decoded earlier are checked as in `prepare_data`. For other images the check
    is that their files exist, that the disk has room for their cache, and that no file is a copy of a file in another
    split, unless the data set keeps such copies. A data set that does not exist is left to `missing_data`. If the check
    takes longer than SLOW_S, `tell` is called with a line for the user.

    Returns:
        Notes to show, and the sizes of the data set's classes; None for the sizes if the data set does not exist.

    Raises:
        UserError: Something does not fit. The message has a line for each problem, which begins with the key.
    """
    variants = data_variants(sweep)
    problems = [problem for data in variants for problem in backbone_problems(sweep, data)] + model_problems(sweep)
    notes: list[str] = []
    outline: DatasetOutline | None = None
    if not any(map(missing, variants)):
        try:
            outline, problems_of_sizes, notes = _sizes(sweep, variants, tell)
        except UserError as error:
            problems.append(_of_folds(sweep, str(error)))
        else:
            problems += problems_of_sizes
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return list(dict.fromkeys(notes)), outline


def _sizes(
    sweep: SweepConfig, variants: Sequence[DataConfig], tell: Callable[[str], None]
) -> tuple[DatasetOutline, list[str], list[str]]:
    """Return the outline of the data set, that of the first fold if `sweep` has folds; problems of sizes; and notes.

    `variants` are the data sections of the trials. Errors and `tell` are those of `_outline`.
    """
    folds = sweep.search.folds or 1
    each = len(variants) // folds
    outlines = [_outline(variants[fold * each : (fold + 1) * each], tell) for fold in range(folds)]
    by_size = sorted(outlines, key=lambda outline: sum(outline.train.class_sizes))
    problems = next(filter(None, (size_problems(sweep, outline) for outline in by_size)), [])  # of one fold are enough
    notes = [note for outline in outlines for note in size_notes(sweep, variants[0], outline)]
    return outlines[0], [*problems, *_small_folds(sweep, outlines)], notes


def _small_folds(sweep: SweepConfig, outlines: Sequence[DatasetOutline]) -> list[str]:
    """Return a message if a fold of `sweep` has a single class, so that whatever is retrieved in it is right.

    `outlines` has the outline of each fold.
    """
    smallest = min((outline.validation for outline in outlines), key=lambda split: len(split.class_sizes))
    if sweep.search.folds is None or len(smallest.class_sizes) > 1 or smallest.gallery is not None:
        return []
    classes = len(outlines[0].train.class_sizes) + len(outlines[0].validation.class_sizes)
    fix = f"write {classes // 2} or less" if classes >= 4 else "add classes"
    return [
        f"search.folds: {sweep.search.folds} folds of {classes} classes leave a fold with one class, in which whatever "
        f"is retrieved is right: {fix}"
    ]


def _of_folds(sweep: SweepConfig, text: str) -> str:
    """Return the error `text` on validation classes with the key `search.folds`, if `sweep` has folds."""
    return text if sweep.search.folds is None else re.sub(r"^data\.validation\.folds?: ", "search.folds: ", text)


def _outline(ways: Sequence[DataConfig], tell: Callable[[str], None] = lambda text: None) -> DatasetOutline:
    """Return the splits and class sizes of a sweep's data set.

    `ways` are the variants of the data set in the sweep, for example with several image sizes. If reading the files
    takes longer than SLOW_S, `tell` is called with a line for the user.

    Raises:
        UserError: The data set cannot be read or split.
    """
    if known := ways[0].outline():
        return known
    from mdr_tune.data import outline_files

    name = ways[0].name
    slow = threading.Timer(SLOW_S, tell, [f"looking at the images of {name}"])
    slow.daemon = True
    slow.start()
    try:
        return outline_files(*ways)
    except OSError as error:
        raise UserError(f"data: {name} cannot be read: {error}") from error
    finally:
        slow.cancel()


def content_if_read(data: DataConfig) -> str | None:
    """Return the hash of the images and splits of `data`; None if this process has not read them yet."""
    from mdr_tune.data import dataset_content, is_decoded

    return dataset_content(data) if is_decoded(data) else None


def left_to_launch(sweep: SweepConfig) -> list[str]:
    """Return a line on each preparation of `sweep` that is left to the launch: decoding images, downloading weights."""
    undecoded = [data for data in data_variants(sweep) if not _is_decoded(data)]
    lines = []
    if undecoded:
        refuses = any(getattr(data, "duplicates", "keep") == "refuse" for data in undecoded)
        then = ": equal pixels in two splits are looked for then" if refuses else ""
        lines.append(f"Images are decoded by the launch, before its first worker{then}.")
    backbones = section_variants(sweep.trial, sweep.space, "backbone")
    if any(backbone.takes_published_weights for backbone in backbones):
        lines.append("Weights that are not here are downloaded by the launch, before its first worker.")
    return lines


def _is_decoded(data: DataConfig) -> bool:
    """Return whether the images of `data` are decoded or need no decoding; False if the images are missing."""
    if data.outline() is not None or missing(data):
        return data.outline() is not None
    from mdr_tune.data import is_decoded

    return is_decoded(data)


def missing_data(sweep: SweepConfig) -> list[str]:
    """Return a message for each folder or table of `sweep`'s data set that does not exist. No file is read."""
    problems = [problem for data in section_variants(sweep.trial, sweep.space, "data") for problem in missing(data)]
    return list(dict.fromkeys(problems))  # each once, even if several image sizes are searched


def may_be_downloaded(sweep: SweepConfig) -> bool:
    """Return whether the data set of `sweep` is a published one, so that the user can still download it."""
    return sweep.trial.data.is_published


def missing(data: DataConfig) -> list[str]:
    """Return a message if the folder or the file of `data` does not exist."""
    problems = []
    for key in ("root", "file"):
        path = getattr(data, key, None)
        if path is not None and not os.path.exists(path):  # Path.exists raises on a name that is too long
            fix = (
                f"run mdr-tune data prepare {data.name} --root {shlex.quote(path)}, or set {key} to where it is"
                if data.is_published
                else _nearly(path)
            )
            problems.append(f"data.{key}: there is no {path}: {fix}")
    return problems


def _nearly(path: str) -> str:
    """Return advice for a `path` that does not exist: to mend it, or a similar path that exists.

    A path is similar if it differs only in upper and lower case, in Unicode form, or in invisible characters.
    """
    there = NamesOnDisk(Path("/"), lambda name: one_form(name).casefold()).find(path)
    return "mend the path" if there is None else f"there is {there!a}: write it so"


def paths_of(sweep: SweepConfig) -> list[Path]:
    """Return the files and folders that `sweep` reads: those of its data sets, and the user's own files of weights."""
    data = section_variants(sweep.trial, sweep.space, "data")
    given = [getattr(variant, key, None) for variant in data for key in ("root", "file")]
    given += [backbone.weights for backbone in section_variants(sweep.trial, sweep.space, "backbone")]
    return [Path(path) for path in dict.fromkeys(given) if path is not None and os.path.isabs(path)]


def prepare_data(sweep: SweepConfig, progress: Progress) -> None:
    """Prepare the images of `sweep`'s data set on this node, then check the sizes of its classes.

    Unlike in `check_data`, the sizes leave out corrupt images. `progress` is called while the images are prepared.

    Raises:
        UserError: Something is missing or does not fit. The message names the key.
    """
    for data in data_variants(sweep):
        _load(data, progress)
        if problems := size_problems(sweep, _outline([data])) + backbone_problems(sweep, data):
            raise UserError("\n".join(problems))


def of_dataset(name: str, progress: Progress) -> Progress:
    """Return a progress callback that calls `progress` with the data set's `name` in front of each text."""
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _load(data: DataConfig, progress: Progress) -> None:
    from mdr_tune.data import load_dataset

    try:
        load_dataset(data, of_dataset(data.name, progress))
    except OSError as error:
        raise UserError(f"data: {data.name} cannot be prepared: {error}") from error


@contextlib.contextmanager
def naming(file: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Add to a UserError that is raised in the block the place of each key: a line of `file`, or a --set.

    Only lines that begin with a key of the trial (`data.root: ...`) or of the sweep (`metric: ...`) are changed.
    `overrides` are the texts `KEY=VALUE` of --set.
    """
    try:
        yield
    except UserError as error:
        source = _source(file, overrides)
        named = "\n".join(_placed(source, file, line) for line in str(error).split("\n"))
        if named == str(error):
            raise
        raise UserError(named) from error


def _source(file: Path, overrides: Sequence[str]) -> Source | None:
    """Return the places of the keys in `file`, with `overrides`; None if the file is gone or has been changed."""
    try:
        tree, source = read_tree(file)
        for text in overrides:
            override(tree, text, source)
    except (UserError, OSError):
        return None
    return source


def _placed(source: Source | None, file: Path, line: str) -> str:
    key, colon, message = line.partition(": ")
    section = key.split(".")[0]
    if not colon or section not in {*TrialConfig.model_fields, *SweepConfig.model_fields}:
        return line
    path = ("trial", *key.split(".")) if section in TrialConfig.model_fields else tuple(key.split("."))
    return source.problem(path, message) if source else f"{file}: {'.'.join(path)}: {message}"
