"""Recognise files and folders that operating systems and programs create among a user's images, such as thumbnails."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

_NAMES = (
    # Windows
    *("$RECYCLE.BIN", "RECYCLER"),
    *("System Volume Information", "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    # macOS; it also creates some of these on the disks of other systems and in archives
    *("__MACOSX", ".AppleDouble", ".AppleDB", ".AppleDesktop", ".Spotlight-V100", ".fseventsd", ".TemporaryItems"),
    *(".Trashes", "Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder", "Icon\r"),
    # Linux and file servers (Samba, ZFS, btrfs, NetApp)
    *("lost+found", ".Trash", ".thumbnails", ".recycle", ".Recycle.Bin", ".zfs", ".snapshot", ".snapshots"),
    *("~snapshot", "~latest"),
    # Synology
    *("@eaDir", "#recycle", "#snapshot", "@tmp", "@sharesnap", "@sharebin", "@SynoDrive"),
    # QNAP
    *("@Recycle", "@Recently-Snapshot", "@__thumb", "@Transcode", ".@__thumb", ".@__transcode", ".@upload_cache"),
    # programs
    *("LOST.DIR", "__pycache__", ".ipynb_checkpoints", ".picasaoriginals", ".dropbox.cache", ".stversions"),
    "_gsdata_",
)
_PATTERNS = (r"\._[^/]*", r"\.Trash-[^/]*", r"found\.[0-9]{3}", "(?-i:Thumbs)")
# In order: AppleDouble files, a user's recycle bin on Linux, files that chkdsk recovered, and the thumbnails of gallery
# programs. Thumbs is matched with a capital T only, because thumbs may be a class.
_ONE_OF_THEM = "|".join((*map(re.escape, _NAMES), *_PATTERNS))
_NAME = re.compile(_ONE_OF_THEM, re.IGNORECASE)

IN_PATH = rf"(?i)(^|/)({_ONE_OF_THEM})(/|$)"
"""Regular expression, for Python and Arrow, that matches paths of system files and of files in system folders."""

_NAMES_SHOWN = 5


def is_kept_by_a_system(name: str) -> bool:
    """Return whether `name` is that of a file or folder that systems or programs create, such as Thumbs.db."""
    return _NAME.fullmatch(name) is not None


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden: whether `name` begins with a dot."""
    return name.startswith(".")


def warn_of_system_files(root: Path, paths: Iterable[str]) -> None:
    """Log a warning about the system files and folders `paths`, which were left out. Do nothing if there are none.

    `root` is the folder of the images, or the table that lists them.
    """
    names = Counter(os.path.basename(path) for path in paths)
    if not names:
        return
    by_number = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name.strip()} {number}" for name, number in by_number[:_NAMES_SHOWN])
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    logger.warning("%s: left out what systems keep beside images, by name: %s%s", root, shown, more)
