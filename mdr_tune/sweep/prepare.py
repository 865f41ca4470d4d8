"""What must be on this machine, and fit together, before the first worker starts: published weights and data sets."""

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.config.data import BenchmarkDataConfig, DataConfig
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import BackboneConfig, TrialConfig
from mdr_tune.errors import UserError
from mdr_tune.objectives import recall_rank
from mdr_tune.progress import Progress

if TYPE_CHECKING:
    from mdr_tune.data.dataset import ImageDataset


def check_weights(sweep: SweepConfig) -> None:
    """Check what can be said of the backbones' weights without a network: names, and that files are there.

    Raises:
        UserError: Weights of no such name are published, or a file is missing.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.weights not in ("none", "DEFAULT"):
            from mdr_tune.backbones import check_weights as check

            check(backbone.name, backbone.weights)


def prepare_weights(sweep: SweepConfig, stage: Callable[[str], None]) -> None:
    """Get the weights that the backbones start from onto this node, and try that they fit.

    Args:
        sweep: Whose trials may name several.
        stage: Is told of what takes a while.

    Raises:
        UserError: They cannot be had, or are of another network; the message says what to do.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.pretrained:
            stage(f"looking for the weights of {backbone.name}")
            from mdr_tune.backbones import build_backbone, fetch_weights

            file = fetch_weights(backbone.name, backbone.weights)
            if file is not None and str(file) == backbone.weights:  # a file of the user's: does it fit?
                build_backbone(backbone.name, backbone.weights)


def missing_data(sweep: SweepConfig) -> list[str]:
    """Say which folders and tables of the data sets are not there; looks at names only, so that it costs nothing."""
    problems = []
    for data in section_variants(sweep.trial, sweep.space, "data"):
        for key in ("root", "file"):
            path = getattr(data, key, None)
            if path is not None and not os.path.exists(path):  # Path.exists raises on a name that is too long
                fix = (
                    f"run mdr-tune data prepare {data.name} --root {shlex.quote(path)}, or set {key} to where it is"
                    if isinstance(data, BenchmarkDataConfig)
                    else "mend the path"
                )
                problems.append(f"data.{key}: there is no {path}: {fix}")
    return list(dict.fromkeys(problems))  # once, in however many sizes it is searched


def paths_of(sweep: SweepConfig) -> list[Path]:
    """Return the files and folders that a sweep reads: of its data sets, and weights of the user's own."""
    data = section_variants(sweep.trial, sweep.space, "data")
    given = [getattr(variant, key, None) for variant in data for key in ("root", "file")]
    given += [backbone.weights for backbone in section_variants(sweep.trial, sweep.space, "backbone")]
    return [Path(path) for path in dict.fromkeys(given) if path is not None and os.path.isabs(path)]


def prepare_data(sweep: SweepConfig, progress: Progress) -> None:
    """Get the data sets onto this node; check that batches can be filled and that the backbones take the images.

    Args:
        sweep: Whose trials may name several.
        progress: Is told how far the caches of images are.

    Raises:
        UserError: Something is missing or does not fit; the message names the key.
    """
    backbones = section_variants(sweep.trial, sweep.space, "backbone")
    for data in section_variants(sweep.trial, sweep.space, "data"):
        dataset = _load(data, sweep, progress)
        for backbone in backbones:
            _check_takes(backbone, data.name, dataset.input_shape(data.chosen_image_size))


def of_dataset(name: str, progress: Progress) -> Progress:
    """Return a progress that says which data set it is about, and tells `progress`."""
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _load(data: DataConfig, sweep: SweepConfig, progress: Progress) -> "ImageDataset":
    """Load the data set, and check that every batch of the sweep can be filled and its metric be measured."""
    from mdr_tune.data import BatchSampler, load_dataset

    try:
        dataset = load_dataset(data.name, of_dataset(data.name, progress), **data.arguments())
    except OSError as error:
        raise UserError(f"data: {data.name} cannot be prepared: {error}") from error
    labels = dataset.split("train").labels
    for batch in section_variants(sweep.trial, sweep.space, "batch"):
        try:
            BatchSampler(labels, batch.size, batch.images_per_class, sweep.trial.seed)
        except ValueError as error:
            raise UserError(f"batch: does not fit the data set {data.name}: {error}") from None
    validation = dataset.split("validation")
    others = len(validation) - 1 if validation.gallery is None else len(validation.gallery)
    rank = recall_rank(sweep.metric)
    if rank is not None and sweep.trial.protocol == "validation" and rank > others:
        raise UserError(
            f"metric: {sweep.metric} needs {rank} images to retrieve, but the validation classes of {data.name} have "
            f"{others}: choose a smaller rank, or hold out more classes (data.validation)"
        )
    return dataset


def _check_takes(backbone: BackboneConfig, data: str, shape: tuple[int, ...]) -> None:
    from mdr_tune.backbones import check_takes

    try:
        check_takes(backbone.name, backbone.weights, shape)
    except ValueError as error:
        raise UserError(f"backbone: {backbone.name} does not fit the data set {data}: {error}") from None


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Let a UserError that begins with a key (`data.root: ...`, of the trial, or `metric: ...`) say its file."""
    try:
        yield
    except UserError as error:
        text = str(error)
        key = text.split(":")[0].split(".")[0]
        if key in TrialConfig.model_fields:
            raise UserError(f"{file}: trial.{text}") from error
        if key in SweepConfig.model_fields:
            raise UserError(f"{file}: {text}") from error
        raise
