"""Bring texts that look the same to one form: labels, words and names of files come from many systems."""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from os import listdir
from pathlib import Path

INVISIBLE = (
    "[\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001d173-\U0001d17a"
    "\U000e0100-\U000e01ef]"
)
"""Regular expression for an invisible character: Unicode's Default_Ignorable_Code_Point and control characters.

The tag characters, which flags are made of, are not among them."""

_INVISIBLE, _BLANK, _TAGS = re.compile(INVISIBLE), re.compile(r"\s"), re.compile("[\U000e0000-\U000e007f]")


def one_form(text: str) -> str:
    """Return the common form of all texts that look like this one: composed (NFC), without invisible characters.

    Each blank, whatever its width, becomes a space. Blanks at both ends are removed.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    return _BLANK.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


def look(text: str) -> str:
    """Return the common form of texts that differ at most in the width of letters, in ligatures or in tags.

    Full-width letters, superscripts and ligatures become plain letters (NFKC). The tag characters, which flags are made
    of, are removed. Two texts with one look may mean two things: x² and x2.
    """
    return text if text.isascii() else one_form(unicodedata.normalize("NFKC", _TAGS.sub("", text)))


class NamesOnDisk:
    """Finds files on the disk whose names are spelt differently in a list.

    Args:
        root: folder that paths are relative to.
        form: function that returns one text for all spellings of a name.
    """

    def __init__(self, root: Path, form: Callable[[str], str]) -> None:
        self._root, self._form = str(root), form
        self._folders: dict[str, str | None] = {"": "", "/": "/"}  # path as written -> path on the disk
        self._names: dict[str, dict[str, list[str]]] = {}

    def find(self, path: str) -> str | None:
        """Return the path as it is spelt on the disk; None if no file, or more than one, could be meant."""
        head, name = posixpath.split(path)
        if head not in self._folders:
            self._folders[head] = self.find(head)
        folder = self._folders[head]
        if folder is None:
            return None
        if name in (".", ".."):
            return posixpath.join(folder, name)
        there = self._names_in(folder).get(self._form(name), [])
        found = name if name in there else there[0] if len(there) == 1 else None
        return None if found is None else posixpath.join(folder, found)

    def _names_in(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._names:
            names: dict[str, list[str]] = defaultdict(list)
            with suppress(OSError):  # no folder, or one that cannot be read
                for name in listdir(posixpath.join(self._root, folder)):
                    names[self._form(name)].append(name)
            self._names[folder] = names
        return self._names[folder]
