"""Make and parse addresses of SQLite files in the form that SQLAlchemy and MLflow read. No other module does."""

from pathlib import Path
from urllib.parse import unquote

_PLAIN, _QUOTED = "sqlite:///", "sqlite+pysqlite:///"


def sqlite_url(file: Path, options: str = "") -> str:
    """Return the address of a SQLite file.

    SQLAlchemy reads `%41` in an address as `A`, and lets the path end at a `?`. Paths with such signs are quoted.
    MLflow would make a folder of the quoted name for an address that begins with `sqlite:///`. A quoted address
    therefore names the driver too: MLflow reads it alike, and makes no folder for it.

    Args:
        file: Path of the file; a relative path is relative to the working folder.
        options: Text after the `?`, such as `timeout=30`, as `sqlite_options` returns it.
    """
    path = str(file)
    end = f"?{options}" if options else ""
    if "?" not in path and unquote(path) == path:
        return f"{_PLAIN}{path}{end}"
    return f"{_QUOTED}{path.replace('%', '%25').replace('?', '%3F')}{end}"


def sqlite_file(url: str) -> Path | None:
    """Return the file of an address; None if the address is not that of a SQLite file."""
    for prefix in (_PLAIN, _QUOTED):
        if url.startswith(prefix) and (path := url.removeprefix(prefix).partition("?")[0]):
            return Path(unquote(path))
    return None


def sqlite_options(url: str) -> str:
    """Return the text after the `?` of an address; empty if it has no `?`."""
    return url.partition("?")[2]
