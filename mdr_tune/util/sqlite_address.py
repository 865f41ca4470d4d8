"""Addresses of SQLite files as SQLAlchemy and MLflow read them. They are made and taken apart here alone."""

from pathlib import Path
from urllib.parse import unquote

_PLAIN, _QUOTED = "sqlite:///", "sqlite+pysqlite:///"


def sqlite_url(file: Path, options: str = "") -> str:
    """Return the address of a file.

    SQLAlchemy reads `%41` in an address as `A`, and lets the path end at a `?`, so that both are quoted. MLflow makes
    the folder of an address that begins with `sqlite:///`, under its quoted name: a quoted address names the driver
    too, which MLflow reads alike, and makes no folder for.

    Args:
        file: Path of the file, absolute unless it is to be relative to the working folder.
        options: What follows the `?`, such as `timeout=30`; as `sqlite_options` returns it.
    """
    path = str(file)
    end = f"?{options}" if options else ""
    if "?" not in path and unquote(path) == path:
        return f"{_PLAIN}{path}{end}"
    return f"{_QUOTED}{path.replace('%', '%25').replace('?', '%3F')}{end}"


def sqlite_file(url: str) -> Path | None:
    """Return the file that an address stands for; None if it is no address of a SQLite file."""
    for prefix in (_PLAIN, _QUOTED):
        if url.startswith(prefix) and (path := url.removeprefix(prefix).partition("?")[0]):
            return Path(unquote(path))
    return None


def sqlite_options(url: str) -> str:
    """Return what follows the `?` of an address; nothing if it has none."""
    return url.partition("?")[2]
