"""Convert texts that look the same to the same form. Systems differ in how they encode labels and names of files."""

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
"""Regular expression for an invisible character: a control character or Unicode's Default_Ignorable_Code_Point.

It does not match the tag characters, which are parts of some emoji of flags.
"""

_INVISIBLE, _BLANK, _TAGS = re.compile(INVISIBLE), re.compile(r"\s"), re.compile("[\U000e0000-\U000e007f]")


def one_form(text: str) -> str:
    """Return `text` in a standard form. Texts that look alike have the same form.

    Letters and their accents are composed (Unicode's NFC), and invisible characters are removed. Each blank, whatever
    its width, becomes a space. Blanks at both ends are removed.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    return _BLANK.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


def look(text: str) -> str:
    """Return `text` in a simplified form. Texts that a person might confuse have the same form.

    Full-width letters, superscripts and ligatures become plain letters (Unicode's NFKC), and tag characters are
    removed. The rest is as in `one_form`. Two texts of the same form may still mean different things: x² and x2.
    """
    return text if text.isascii() else one_form(unicodedata.normalize("NFKC", _TAGS.sub("", text)))


class NamesOnDisk:
    """Finds the files on the disk for paths from a list of files, even if the list encodes the names differently.

    Args:
        root: folder that the paths are relative to.
        form: function that returns the same text for all spellings of a name, such as `one_form`.
    """

    def __init__(self, root: Path, form: Callable[[str], str]) -> None:
        self._root, self._form = str(root), form
        self._folders: dict[str, str | None] = {"": "", "/": "/"}  # path as written -> path on the disk
        self._names: dict[str, dict[str, list[str]]] = {}

    def find(self, path: str) -> str | None:
        """Return `path` with the names that its folders and its file have on the disk.

        The result is None if a name matches nothing on the disk, or several names none of which is an exact match.
        """
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
