"""A published data set with a fixed split: what it is made of, and how a copy of it is checked and opened."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing
from mdr_tune.data.listings.open_listing import ListedDataset, draw_splits
from mdr_tune.util.errors import UserError


class Count(NamedTuple):
    """How many images there are in a part of a data set, and of how many classes."""

    images: int
    classes: int

    def __str__(self) -> str:
        return (
            f"{self.images:,} image{'' if self.images == 1 else 's'} of "
            f"{self.classes:,} class{'' if self.classes == 1 else 'es'}"
        )


@dataclass(frozen=True)
class Archive:
    """One of the files that a data set is published as.

    Attributes:
        name: of the file.
        makes: what is there once it is unpacked, any one of these paths being enough, but for a folder that is one of
            the data set's `homes`. The first is what the file itself holds at its top; for a file that is used as it
            is, its own name.
        urls: where it can be downloaded, the best first. None: it is handed out by a form.
        md5: of the file, in hexadecimal. Known wherever there is a URL.
        size_bytes: of the file, if it is known.
        lies_in: the folders in which the file itself is looked for.
    """

    name: str
    makes: tuple[str, ...]
    urls: tuple[str, ...] = ()
    md5: str | None = None
    size_bytes: int | None = None
    lies_in: tuple[str, ...] = ("",)

    @property
    def is_packed(self) -> bool:
        """Whether it has to be unpacked."""
        return self.name != self.makes[0]


@dataclass(frozen=True)
class Benchmark:
    """A published data set.

    Attributes:
        name: in a search-space file.
        title: as the field writes it.
        read: reads the lists of a copy below a folder, whichever of its layouts it has. Raises UserError if there
            is none, or if a list is malformed.
        expected: the size of the parts `train` and `test`; `train`, `query` and `gallery` where the test split has
            these.
        archives: what it is published as.
        homes: the folders below `data.root` in which it may lie.
        by_hand: how to get it where a download does not work. Sentences.
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
    ) -> ListedDataset:
        """List the copy below `root`, whose lists must be whole.

        Args:
            root: the folder that holds the data set, or that it is.
            recall_ks: the ranks K at which Recall@K is measured, ascending.
            resize: edge of the images, in pixels.
            cache: whether decoded images are kept in `folder`.
            corrupt: what to do about images that cannot be decoded, `refuse` or `skip`.
            validation: how to draw validation classes out of the training classes.

        Raises:
            UserError: there is no whole copy, or an argument does not fit it.
        """
        listing = self.read(Path(os.path.expanduser(root)))
        self.check_counts(listing)
        return draw_splits(
            self.name,
            listing,
            recall_ks=recall_ks,
            resize=resize,
            cache=cache,
            corrupt=corrupt,
            single_image_classes="keep",  # as the paper has them
            duplicates="keep",  # likewise
            validation=validation,
            test=None,
        )

    def check_counts(self, listing: Listing) -> None:
        """Check that a copy's lists have the known numbers of images and classes, train and test apart.

        Raises:
            UserError: they have not; the message says which part has how many, and what likely happened.
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
    """Return the first of the folders `root / home` that holds any of a data set's `lists`.

    Args:
        benchmark: its name in a search-space file, for the message.
        title: as the field writes it, for the message.
        root: `data.root`.
        homes: folders relative to it.
        lists: files relative to those.

    Raises:
        UserError: none does; the message says what was looked for and where.
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
