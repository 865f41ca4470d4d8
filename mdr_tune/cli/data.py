"""`mdr-tune data`: download a data set, check it, build its cache; list, verify and remove this machine's caches."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console

from mdr_tune.cli.flags import at_least_0
from mdr_tune.cli.progress_bars import progress_bars
from mdr_tune.cli.terminal import say
from mdr_tune.config.datasets import DataConfig
from mdr_tune.config.explain import explain
from mdr_tune.config.hints import flag_as_text, in_quotes
from mdr_tune.config.overrides import read_override
from mdr_tune.config.space import section_variants
from mdr_tune.config.strict_model import StrictModel, set_dotted
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.sweep.prepare import naming, of_dataset
from mdr_tune.util.cache_folder import check_cache_dir
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import plural

if TYPE_CHECKING:
    from mdr_tune.data.kept_features import KeptFeatures

_PREPARE = """\
Check a data set and build its cache of images, which trials read instead of the files. CUB-200-2011, Cars-196 and
Stanford Online Products are downloaded into --root if they are not there, and unpacked; without a network the command
says which file to put where, as it does for In-Shop. A cache that is there already is found, and costs nothing.
"""
_DAY_S = 86_400
_FLAGS = ("root", "file")
"""Keys of the section trial.data that have a flag of their own. The other keys are given with --set."""


class _Wanted(StrictModel):
    data: DataConfig


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `data` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("data", help="prepare data sets; list, verify and remove their caches")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    prepare = actions.add_parser("prepare", help="download, check, build the cache", description=_PREPARE)
    prepare.add_argument(
        "name", nargs="?", metavar="NAME", help="cub200, cars196, sop, inshop, folder, table or glyphs"
    )
    prepare.add_argument("--space", type=Path, metavar="FILE", help="instead of NAME: all data sets of this sweep file")
    prepare.add_argument("--root", metavar="DIR", help="folder of the images; default: datasets")
    prepare.add_argument("--file", metavar="FILE", help="of table: the CSV or Parquet file")
    prepare.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of trial.data; may be repeated"
    )
    prepare.set_defaults(run=run_prepare)
    listing = actions.add_parser("list", help="show the caches of this machine")
    listing.set_defaults(run=run_list)
    verify = actions.add_parser("verify", help="compare every image of the caches with its checksum")
    verify.set_defaults(run=run_verify)
    remove = actions.add_parser("remove", help="remove old caches and kept features")
    remove.add_argument(
        "--older-than", type=at_least_0, metavar="DAYS", required=True, help="those that were made so long ago; 0: all"
    )
    remove.set_defaults(run=run_remove)


def run_prepare(arguments: argparse.Namespace, console: Console) -> int:
    """Prepare the data set that `arguments` name, or all data sets of a sweep file; print their sizes; return 0."""
    if (arguments.name is None) == (arguments.space is None):
        raise UserError("give the NAME of a data set (such as cub200), or --space FILE")
    if arguments.space is None:
        _prepare(_named(arguments), console)
        return 0
    for data in _of_sweep(arguments, console):
        with naming(arguments.space, _overrides(arguments)):
            _prepare(data, console)
    return 0


def _overrides(arguments: argparse.Namespace) -> list[str]:
    return [f"trial.data.{override}" for override in arguments.set]


def _of_sweep(arguments: argparse.Namespace, console: Console) -> list[DataConfig]:
    """Return the configurations of all data sets in the sweep file that --space names. Print the notes on the file."""
    for key in _FLAGS:
        if (value := getattr(arguments, key)) is not None:
            raise UserError(f"--{key} goes with a NAME; with --space, which names them all, use --set {key}={value}")
    sweep, notes = read_sweep(arguments.space, _overrides(arguments))
    for note in notes:
        say(console, f"note: {note}")
    return section_variants(sweep.trial, sweep.space, "data")


def _named(arguments: argparse.Namespace) -> DataConfig:
    tree: dict[str, Any] = {"name": arguments.name}
    tree |= {key: value for key in _FLAGS if (value := getattr(arguments, key)) is not None}
    for override in arguments.set:
        key, value = read_override(override, "resize=128")
        set_dotted(tree, key, value)
    try:
        return _Wanted.model_validate({"data": tree}).data
    except ValidationError as error:
        given = {override.partition("=")[0].strip(): override for override in arguments.set}

        def quoted(path: tuple[str, ...], value: Any) -> str:
            override = given.get(".".join(path[1:]))
            return in_quotes(value, None) if override is None else flag_as_text(override, value)

        problems = [f"{_place(path[1:])}: {message}" for path, message in explain(error, _Wanted, quoted)]
        raise UserError("\n".join(problems).replace(" data.", " ")) from None  # keys are given without it


def _place(path: tuple[str, ...]) -> str:
    """Return the argument that sets the key `path` of the section trial.data, such as `--root` or `--set resize`."""
    key = ".".join(path)
    return "NAME" if key == "name" else f"--{key}" if key in _FLAGS else f"--set {key}"


def _prepare(data: DataConfig, console: Console) -> None:
    from mdr_tune.data import load_dataset, split_sizes

    try:
        with progress_bars(console) as progress:
            data.fetch(progress)
            dataset = load_dataset(data, of_dataset(data.name, progress))
    except OSError as error:
        raise UserError(f"data: {data.name} cannot be prepared: {error}") from error
    say(console, data.name)
    for part, (images, classes) in split_sizes(data).items():
        of_classes = f"of {classes:>7,} {plural(classes, 'class')}"
        say(console, f"  {part:<13} {images:>9,} {plural(images, 'image'):<6} {of_classes}")
    if dataset.cache_file is not None:
        _print_caches(console, dataset.cache_file)


def run_list(_: argparse.Namespace, console: Console) -> int:
    """Print the caches of images and the kept features on this machine on `console`; return 0."""
    from mdr_tune.data import kept_features
    from mdr_tune.data.images.abandoned import abandoned_sizes
    from mdr_tune.data.images.image_cache import FOLDER, cached_files
    from mdr_tune.util.disk_space import format_bytes

    folder = check_cache_dir()
    unfinished = [*abandoned_sizes(folder / FOLDER), *abandoned_sizes(folder / kept_features.FOLDER)]
    features, computing = kept_features.kept_features(folder), kept_features.unfinished_features(folder)
    if not any((cached_files(folder), unfinished, features, computing)):
        say(console, f"no caches of images below {folder}")
        return 0
    say(console, f"caches below {folder}; a cache that is deleted is made again when it is needed")
    _print_caches(console)
    for one in features:
        say(console, f"  {_described(one):<40} {format_bytes(one.bytes):>9}  {one.path}")
    for path, size_bytes in unfinished:
        say(console, f"  unfinished, removed by the next build: {format_bytes(size_bytes):>9}  {path}")
    for path, size_bytes in computing:
        say(console, f"  features, partly computed: {format_bytes(size_bytes):>9}  {path}")
    return 0


def _described(kept: "KeptFeatures") -> str:
    """Return, for example, `features of resnet18: folder, training, 40,000 x 512`."""
    shape = "damaged" if kept.shape is None else " x ".join(f"{size:,}" for size in kept.shape)
    if not kept.about:
        return f"features, {shape}"
    return f"features of {kept.about['backbone']['name']}: {kept.about['data']['name']}, {kept.about['split']}, {shape}"


def run_remove(arguments: argparse.Namespace, console: Console) -> int:
    """Remove the caches of images and the kept features that are as old as `arguments` say; return 0.

    A process that reads a removed file can go on reading. Features that a process is computing are not removed.
    """
    from mdr_tune.data.images.image_cache import cached_files
    from mdr_tune.data.kept_features import kept_features, remove_features, unfinished_features
    from mdr_tune.util.disk_space import format_bytes

    folder, before = check_cache_dir(), time.time() - arguments.older_than * _DAY_S
    found = [(one.path, one.bytes) for one in cached_files(folder)]
    found += [(one.path, one.bytes) for one in kept_features(folder)] + unfinished_features(folder)
    old = [(path, size) for path, size in found if path.lstat().st_mtime <= before]
    for path, size in old:
        try:
            remove_features(path)
        except OSError as error:
            raise UserError(f"{path} cannot be removed ({error.strerror})") from error
        say(console, f"removed {format_bytes(size):>9}  {path}")
    age = f"no cache below {folder} is {arguments.older_than} {plural(arguments.older_than, 'day')} old"
    say(console, f"{format_bytes(sum(size for _, size in old))} freed" if old else age)
    return 0


def run_verify(_: argparse.Namespace, console: Console) -> int:
    """Compare the images of all caches with their checksums; return 0 if all are intact, else 1."""
    from mdr_tune.data.images.image_cache import cached_files, verify

    damaged, folder = False, check_cache_dir()
    if not (files := cached_files(folder)):
        say(console, f"no caches of images below {folder}")
    for cached in files:
        try:
            wrong = verify(cached.path)
        except UserError as error:
            wrong, state = [cached.path.name], str(error)
        else:
            example = f"{len(wrong):,} damaged, such as {wrong[0]}: delete it" if wrong else "intact"
            state = f"{cached.path}: {cached.images:,} images, {example}"
        damaged |= bool(wrong)
        say(console, state)
    return 1 if damaged else 0


def _print_caches(console: Console, only: Path | None = None) -> None:
    from mdr_tune.data.images.image_cache import cached_files
    from mdr_tune.util.disk_space import format_bytes

    for cached in cached_files(check_cache_dir()):
        if only in (None, cached.path):
            size = f"{cached.size_px} x {cached.size_px}"
            state = cached.problem or f"{cached.images:,} images"
            way = "" if cached.interpolation == "lanczos" else f"  ({cached.interpolation})"
            say(
                console,
                f"  cache {cached.name:<8} {state:>16} {size:>11} {format_bytes(cached.bytes):>9}  {cached.path}{way}",
            )
