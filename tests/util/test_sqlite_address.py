"""Addresses of SQLite files: SQLAlchemy opens the file that was meant, whatever stands in its path."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy

from mdr_tune.util.sqlite_address import sqlite_file, sqlite_options, sqlite_url

ODD = ["plain", "with blanks", "50%20", "feature%2Fx", "50% off", "which levels?", "a?b=c", "#1 & 2", "a@b:c", "käse"]


@pytest.mark.parametrize("name", ODD)
def test_the_file_that_was_meant_is_opened(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / f"{name}.db"
    file.parent.mkdir()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE here (id INTEGER)")
    connection.close()
    url = sqlite_url(file)
    assert sqlite_file(url) == file
    engine = sqlalchemy.create_engine(url)
    assert sqlalchemy.inspect(engine).get_table_names() == ["here"]
    engine.dispose()
    assert sorted(tmp_path.rglob("*")) == [file.parent, file]


@pytest.mark.parametrize("name", ODD)
def test_options_stay_apart_from_the_path(name: str) -> None:
    url = sqlite_url(Path("/x") / name, "timeout=30")
    assert (sqlite_file(url), sqlite_options(url)) == (Path("/x") / name, "timeout=30")
    assert sqlalchemy.make_url(url).query == {"timeout": "30"}


def test_what_needs_no_quotes_is_written_as_it_is() -> None:
    assert sqlite_url(Path("/a b/50% off #1.db")) == "sqlite:////a b/50% off #1.db"
    assert sqlite_file("sqlite:////a%20b/x.db") == Path("/a b/x.db")  # quotes of a user's
    assert sqlite_file("sqlite:///x.db") == Path("x.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "http://a", "postgresql://a/b", "x.db", ""])
def test_what_is_no_file(url: str) -> None:
    assert sqlite_file(url) is None
