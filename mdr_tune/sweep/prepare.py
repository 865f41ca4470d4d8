"""What must be on this machine, and fit together, before the first worker starts: published weights and data sets."""

import contextlib
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mdr_tune.config.data import DataConfig
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.sweep.data_fit import backbone_problems, size_notes, size_problems
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress
from mdr_tune.util.text_forms import NamesOnDisk, one_form

SLOW_S = 1.0
"""How long the files of a data set are looked at without a word."""


def check_weights(sweep: SweepConfig) -> None:
    """Check what can be said of the backbones' weights without a network: names, and that files are whole and fit.

    Raises:
        UserError: Weights of no such name are published, or a file is missing, damaged, or of another network.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.weights == "none" or (backbone.weights == "DEFAULT" and not backbone.pretrained):
            continue
        from mdr_tune.backbones import build_backbone, check_weights

        check_weights(backbone.name, backbone.weights)
        if os.path.isabs(backbone.weights):  # a file of the user's
            build_backbone(backbone.name, backbone.weights)


def prepare_weights(sweep: SweepConfig, stage: Callable[[str], None]) -> None:
    """Get the weights that the backbones start from onto this node.

    Args:
        sweep: Whose trials may name several.
        stage: Is told of what takes a while.

    Raises:
        UserError: They cannot be had; the message says what to do.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.pretrained:
            stage(f"looking for the weights of {backbone.name}")
            from mdr_tune.backbones import fetch_weights

            fetch_weights(backbone.name, backbone.weights)


def check_data(sweep: SweepConfig, tell: Callable[[str], None] = lambda text: None) -> list[str]:
    """Check that the data set can be split, and that backbones, batches and metrics fit it. No image is decoded.

    Images that are decoded already are checked as `prepare_data` does; others that they are there, and no copies of
    one in another split. A data set that is not there is not looked at: `missing_data` names it.

    Args:
        sweep: Whose trials read one data set, in as many ways as its space has.
        tell: Is told what takes longer than a second.

    Returns:
        Notes on what a user may not expect.

    Raises:
        UserError: Something does not fit; the message has a line for each problem, which begins with the key.
    """
    variants = section_variants(sweep.trial, sweep.space, "data")
    problems = [problem for data in variants for problem in backbone_problems(sweep, data)]
    notes: list[str] = []
    if not any(map(_missing, variants)):
        try:
            outline = _outline(variants, tell)
        except UserError as error:
            problems.append(str(error))
        else:
            problems += size_problems(sweep, outline)
            notes += size_notes(sweep, variants[0], outline)
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return notes


def _outline(ways: Sequence[DataConfig], tell: Callable[[str], None] = lambda text: None) -> DatasetOutline:
    """Return the outline of the one data set of a sweep, which may be read in several sizes, with and without cache."""
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


def left_to_launch(sweep: SweepConfig) -> list[str]:
    """Return a line on each thing that a launch does before its first worker, and may then refuse to go on."""
    undecoded = [data for data in section_variants(sweep.trial, sweep.space, "data") if not _is_decoded(data)]
    lines = []
    if undecoded:
        refuses = any(getattr(data, "duplicates", "keep") == "refuse" for data in undecoded)
        then = ": equal pixels in two splits are looked for then" if refuses else ""
        lines.append(f"Images are decoded by the launch, before its first worker{then}.")
    backbones = section_variants(sweep.trial, sweep.space, "backbone")
    if any(backbone.pretrained and not os.path.isabs(backbone.weights) for backbone in backbones):
        lines.append("Weights that are not here are downloaded by the launch, before its first worker.")
    return lines


def _is_decoded(data: DataConfig) -> bool:
    """Return whether `check_data` found the images decoded, or a data set needs no decoding."""
    if data.outline() is not None or _missing(data):
        return data.outline() is not None
    from mdr_tune.data import is_decoded

    return is_decoded(data)


def missing_data(sweep: SweepConfig) -> list[str]:
    """Say which folders and tables of the data set are not there; looks at names only, so that it costs nothing."""
    problems = [problem for data in section_variants(sweep.trial, sweep.space, "data") for problem in _missing(data)]
    return list(dict.fromkeys(problems))  # once, in however many sizes it is searched


def may_be_downloaded(sweep: SweepConfig) -> bool:
    """Return whether the data set is a published one, which a user may have yet to download."""
    return sweep.trial.data.is_published


def _missing(data: DataConfig) -> list[str]:
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
    """Return what to do about a path that is not there."""
    there = NamesOnDisk(Path("/"), lambda name: one_form(name).casefold()).find(path)
    return "mend the path" if there is None else f"there is {there!a}: write it so"


def paths_of(sweep: SweepConfig) -> list[Path]:
    """Return the files and folders that a sweep reads: of its data sets, and weights of the user's own."""
    data = section_variants(sweep.trial, sweep.space, "data")
    given = [getattr(variant, key, None) for variant in data for key in ("root", "file")]
    given += [backbone.weights for backbone in section_variants(sweep.trial, sweep.space, "backbone")]
    return [Path(path) for path in dict.fromkeys(given) if path is not None and os.path.isabs(path)]


def prepare_data(sweep: SweepConfig, progress: Progress) -> None:
    """Get the data sets onto this node; check once more what `check_data` did, now without the images that are corrupt.

    Args:
        sweep: Whose trials may name several.
        progress: Is told how far the caches of images are.

    Raises:
        UserError: Something is missing or does not fit; the message names the key.
    """
    for data in section_variants(sweep.trial, sweep.space, "data"):
        _load(data, progress)
        if problems := size_problems(sweep, _outline([data])) + backbone_problems(sweep, data):
            raise UserError("\n".join(problems))


def of_dataset(name: str, progress: Progress) -> Progress:
    """Return a progress that says which data set it is about, and tells `progress`."""
    return lambda what, done, total: progress(f"{name}: {what}", done, total)


def _load(data: DataConfig, progress: Progress) -> None:
    from mdr_tune.data import load_dataset

    try:
        load_dataset(data, of_dataset(data.name, progress))
    except OSError as error:
        raise UserError(f"data: {data.name} cannot be prepared: {error}") from error


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Let each line of a UserError that begins with a key (`data.root: ...`, of the trial, or `metric: ...`) say its
    file."""
    try:
        yield
    except UserError as error:
        named = "\n".join(_with_file(file, line) for line in str(error).split("\n"))
        if named == str(error):
            raise
        raise UserError(named) from error


def _with_file(file: Path, line: str) -> str:
    key = line.split(":")[0].split(".")[0]
    if key in TrialConfig.model_fields:
        return f"{file}: trial.{line}"
    return f"{file}: {line}" if key in SweepConfig.model_fields else line
