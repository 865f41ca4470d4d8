"""Make and parse the addresses of SQLite files that SQLAlchemy and MLflow use. No other module parses them."""

from pathlib import Path
from urllib.parse import unquote

_PLAIN, _QUOTED = "sqlite:///", "sqlite+pysqlite:///"


def sqlite_url(file: Path, options: str = "") -> str:
    """Return the address of the SQLite file `file`, with the text `options` after a `?`, such as `timeout=30`.

    SQLAlchemy reads `%41` in an address as `A`, and a `?` as the end of the path. A path with such signs is therefore
    quoted. For an address with the prefix `sqlite:///`, MLflow would make a folder with the quoted name. So a quoted
    address has the prefix `sqlite+pysqlite:///`, for which MLflow makes no folder.
    """
    path = str(file)
    end = f"?{options}" if options else ""
    if "?" not in path and unquote(path) == path:
        return f"{_PLAIN}{path}{end}"
    return f"{_QUOTED}{path.replace('%', '%25').replace('?', '%3F')}{end}"


def sqlite_file(url: str) -> Path | None:
    """Return the path of the SQLite file whose address is `url`; None if `url` is not the address of a SQLite file."""
    for prefix in (_PLAIN, _QUOTED):
        if url.startswith(prefix) and (path := url.removeprefix(prefix).partition("?")[0]):
            return Path(unquote(path))
    return None


def sqlite_options(url: str) -> str:
    """Return the text after the `?` in the address `url`; empty if there is no `?`."""
    return url.partition("?")[2]
