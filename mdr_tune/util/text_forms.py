"""One form for texts that look the same: labels, words and names of files come from many systems."""

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
"""Regular expression of a character that is not seen: Unicode's Default_Ignorable_Code_Point, but for the tags that
flags are made of, and control characters."""

_INVISIBLE, _BLANK, _TAGS = re.compile(INVISIBLE), re.compile(r"\s"), re.compile("[\U000e0000-\U000e007f]")


def one_form(text: str) -> str:
    """Return the text as all texts that look like it: composed (NFC), without characters that are not seen.

    Each blank, whatever its width, becomes a space; those at the ends are left out.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    return _BLANK.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


def look(text: str) -> str:
    """Return what texts have in common that differ in the width of letters, in ligatures, or in tags, at most.

    Full-width letters, superscripts and ligatures are plain letters in it (NFKC), and the tag characters, which only
    flags are made of, are left out. Two texts of one look may well mean two things: x² and x2.
    """
    return text if text.isascii() else one_form(unicodedata.normalize("NFKC", _TAGS.sub("", text)))


class NamesOnDisk:
    """Finds files whose names are written otherwise than in a list.

    Args:
        root: folder that paths are relative to.
        form: returns what two spellings of a name have in common.
    """

    def __init__(self, root: Path, form: Callable[[str], str]) -> None:
        self._root, self._form = str(root), form
        self._folders: dict[str, str | None] = {"": "", "/": "/"}  # as written, and as on the disk
        self._names: dict[str, dict[str, list[str]]] = {}

    def find(self, path: str) -> str | None:
        """Return the path as the disk has it; None if there is no such file, or several that could be meant."""
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
            with suppress(OSError):  # what is no folder, or cannot be read, has no files
                for name in listdir(posixpath.join(self._root, folder)):
                    names[self._form(name)].append(name)
            self._names[folder] = names
        return self._names[folder]
