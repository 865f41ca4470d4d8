"""Words for splits and roles in a user's own data, where they are names of folders or values in columns of a table."""

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
"""Index in `SPLIT_NAMES` and role for each word. Query and gallery images are test images, as in In-Shop's list."""

ROLE_WORDS: dict[str, int] = {"query": QUERY, "gallery": GALLERY, "both": BOTH, "": BOTH}
"""Role for each word in a column of roles. The empty word stands for an empty cell."""


def split_word(text: str) -> str:
    """Return `text`, a folder's name or a cell of a table, in the lower-case form of `SPLIT_WORDS` and `ROLE_WORDS`."""
    return one_form(text).lower()
