"""Class names in users' own data, which are names of folders or labels in a table."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mdr_tune.util.text_forms import look, one_form

logger = logging.getLogger(__name__)

_SHOWN = 3


def class_name(folder: str) -> str:
    """Return the name of the class that a folder's name or a label means; names that look the same are one class."""
    return one_form(folder) or folder


def warn_of_spellings(where: Path, written: Iterable[tuple[str, str]]) -> None:
    """Log a warning about classes that are spelled in several ways, and about different classes that look alike.

    Args:
        where: the folder or table that the names are in.
        written: pairs of a class name and a spelling of it in the data.
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
