"""Words for splits and roles in users' own data: names of folders, or values in a table's columns."""

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY
from mdr_tune.util.text_forms import one_form

_TRAIN, _VALIDATION, _TEST = range(len(SPLIT_NAMES))

SPLIT_WORDS: dict[str, tuple[int, int]] = {
    "train": (_TRAIN, BOTH),
    "training": (_TRAIN, BOTH),
    "validation": (_VALIDATION, BOTH),
    "val": (_VALIDATION, BOTH),
    "valid": (_VALIDATION, BOTH),
    "dev": (_VALIDATION, BOTH),
    "test": (_TEST, BOTH),
    "testing": (_TEST, BOTH),
    "query": (_TEST, QUERY),
    "gallery": (_TEST, GALLERY),
}
"""Index of the split in `SPLIT_NAMES`, and role, by word. As in In-Shop's list, a query or gallery image is a test
image."""

ROLE_WORDS: dict[str, int] = {"query": QUERY, "gallery": GALLERY, "both": BOTH, "": BOTH}
"""Role by word."""


def split_word(text: str) -> str:
    """Return a folder's name, or the text of a cell, in the form of the keys of `SPLIT_WORDS` and `ROLE_WORDS`."""
    return one_form(text).lower()
