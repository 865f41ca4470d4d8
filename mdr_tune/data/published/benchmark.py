"""Describe a published data set with a fixed test split, list the images of a copy, and check their number."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mdr_tune.data.images.decoding import Interpolation
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing
from mdr_tune.data.listings.open_listing import ListedDataset, draw_splits
from mdr_tune.util.errors import UserError


class Count(NamedTuple):
    """Number of images and of classes in a part of a data set."""

    images: int
    classes: int

    def __str__(self) -> str:
        return (
            f"{self.images:,} image{'' if self.images == 1 else 's'} of "
            f"{self.classes:,} class{'' if self.classes == 1 else 'es'}"
        )


@dataclass(frozen=True)
class Archive:
    """A file of a published data set: an archive, or a plain file such as a list of images.

    Attributes:
        name: name of the file.
        makes: paths, relative to a home of the data set (see `Benchmark`). If one of them exists, the file counts as
            unpacked; a path that is itself a home counts only if it is the only path. The first path is the file or
            folder at the top of the archive, or the name of the file if it is not packed.
        urls: URLs of the file, in the order in which they are tried. Empty: the file has no public URL.
        md5: MD5 of the file, in hexadecimal; None if it is unknown. It is required for a file with URLs.
        size_bytes: size of the file; None if it is unknown.
        lies_in: folders, relative to a home, in which to look for the file.
    """

    name: str
    makes: tuple[str, ...]
    urls: tuple[str, ...] = ()
    md5: str | None = None
    size_bytes: int | None = None
    lies_in: tuple[str, ...] = ("",)

    @property
    def is_packed(self) -> bool:
        """True if the file is an archive that has to be unpacked; False if it is a plain file such as a list."""
        return self.name != self.makes[0]


@dataclass(frozen=True)
class Benchmark:
    """A published data set, such as CUB-200-2011.

    Attributes:
        name: name of the data set in a sweep file.
        title: name of the data set as the field writes it.
        read: function that lists the images of a copy below a folder. It raises UserError if there is no correct copy.
        expected: numbers of images and classes of each part: `train` and `test`, or `train`, `query` and `gallery`.
        archives: files that make up the data set.
        homes: folders, relative to `data.root`, in which the data set may lie. The empty path is `data.root` itself.
        by_hand: sentences that tell a user how to get the data set if a download does not work.
    """

    name: str
    title: str
    read: Callable[[Path], Listing]
    expected: Mapping[str, Count]
    archives: tuple[Archive, ...]
    homes: tuple[str, ...] = ("",)
    by_hand: str = ""

    def listed(
        self,
        *,
        root: str,
        recall_ks: Sequence[int],
        resize: int,
        cache: bool,
        corrupt: Literal["refuse", "skip"],
        validation: Mapping[str, Any],
        interpolation: Interpolation = "lanczos",
    ) -> ListedDataset:
        """List the images of the copy below `root`, check their number, and draw the validation classes.

        `root` is the folder of the data set, or a folder that holds it. `Opening` explains the other arguments,
        `recall_ks`, `resize`, `cache`, `corrupt`, `validation` and `interpolation`.

        Raises:
            UserError: there is no complete copy, or the validation classes cannot be drawn from it.
        """
        listing = self.read(Path(os.path.expanduser(root)))
        self.check_counts(listing)
        return draw_splits(
            self.name,
            listing,
            recall_ks=recall_ks,
            resize=resize,
            interpolation=interpolation,
            cache=cache,
            corrupt=corrupt,
            single_image_classes="keep",  # as in the paper
            duplicates="keep",  # as in the paper
            validation=validation,
            test=None,
        )

    def check_counts(self, listing: Listing) -> None:
        """Check that `listing` has the expected numbers of images and classes, and that train and test share no class.

        If not, a UserError names the parts that are wrong, their numbers, and the likely cause.
        """
        found = {part: self._count(listing, part) for part in self.expected}
        wrong = [part for part, count in found.items() if count != self.expected[part]]
        shared = len(set(listing.classes("train")) & set(listing.classes("test")))
        if not wrong and not shared:
            return
        problems = [f"{part} has {found[part]} and should have {self.expected[part]}" for part in wrong]
        if shared:
            problems.append(f"train and test, which must have no class in common, share {shared:,}")
        raise UserError(
            f"data.root: the lists of {self.title} in {listing.root} are not the published ones: "
            f"{'; '.join(problems)}. {self._likely(found, shared)}"
        )

    def _count(self, listing: Listing, part: str) -> Count:
        rows = {
            "train": lambda: listing.rows("train"),
            "test": lambda: listing.rows("test"),
            "query": lambda: listing.rows("test", BOTH, QUERY),
            "gallery": lambda: listing.rows("test", BOTH, GALLERY),
        }[part]()
        return Count(len(rows), len(set(listing.class_ids[rows].tolist())))

    def _likely(self, found: Mapping[str, Count], shared: int) -> str:
        if shared or (found != self.expected and sorted(found.values()) == sorted(self.expected.values())):
            return "The lists are mixed up: unpack the original archive anew"
        if all(count.images <= self.expected[part].images for part, count in found.items()):
            return "The copy was cut short: delete that folder and unpack the original archive anew"
        return "It is another version of the data set, or two copies in one: unpack the original archive anew"


def find_home(benchmark: str, title: str, root: Path, homes: tuple[str, ...], lists: tuple[str, ...]) -> Path:
    """Return the first of the folders `root / home` that holds one of the list files `lists`, or raise a UserError.

    `homes` are relative to `root`, and `lists` to a home. The message has `title`, and `benchmark`, the name of the
    data set in a sweep file.
    """
    for home in homes:
        if any((root / home / name).is_file() for name in lists):
            return root / home
    if not root.is_dir():
        raise UserError(f"data.root: there is no folder {root} ({root.absolute()})")
    below = [home for home in homes if home]
    raise UserError(
        f"data.root: there is no {title} in {root}: looked for {' or '.join(lists)} in it"
        f"{' and in its folders ' + ', '.join(below) if below else ''}. Give the folder that holds it; "
        f"`mdr-tune data prepare {benchmark} --root {root}` unpacks it there, or says which file to put where"
    )
