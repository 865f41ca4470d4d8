"""Names of classes in a user's own data. They come from the names of folders or from the labels in a table."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mdr_tune.util.text_forms import look, one_form

logger = logging.getLogger(__name__)

_SHOWN = 3


def class_name(folder: str) -> str:
    """Return the class name for `folder`, a folder's name or a label. Texts that look alike get the same name."""
    return one_form(folder) or folder


def warn_of_spellings(where: Path, written: Iterable[tuple[str, str]]) -> None:
    """Log a warning about classes that are spelled in several ways, and about different classes whose names look alike.

    `written` has pairs: the name of a class, and a spelling of that name in the folder or table `where`.
    """
    spellings = defaultdict(set)
    for name, spelling in written:
        spellings[name].add(spelling)
    alike = defaultdict(list)
    for name in sorted(spellings):
        alike[look(name)].append(name)
    if doubtful := [names for names in alike.values() if len(names) > 1]:
        shown = "; ".join(" and ".join(map(ascii, names)) for names in doubtful[:_SHOWN])
        more = "; ..." if len(doubtful) > _SHOWN else ""
        what = "classes that look alike, and stay different classes: if they are one, give them one name"
        logger.warning("%s: %s: %s%s", where, what, shown, more)
    if several := sorted(name for name in spellings if len(spellings[name]) > 1):
        shown = "; ".join(" and ".join(ascii(s) for s in sorted(spellings[name])) for name in several[:_SHOWN])
        more = "; ..." if len(several) > _SHOWN else ""
        what = "names that look the same but have different characters are taken for one class"
        logger.warning("%s: %s: %s%s", where, what, shown, more)
