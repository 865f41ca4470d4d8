"""A real PostgreSQL server for a test, with passwords, on a free port of 127.0.0.1."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.waiting import HANG_S

SUPERUSER_PASSWORD = "super-secret"
PASSWORD = "p4ss:word\\with odd@signs"


class Postgresql(NamedTuple):
    """A running server with the database `runs` of the user `tracker`."""

    port: int

    @property
    def uri(self) -> str:
        """The database, as a user writes it: without the password."""
        return f"postgresql://tracker@127.0.0.1:{self.port}/runs"

    @property
    def pgpass(self) -> str:
        """The line of ~/.pgpass; colons and backslashes are escaped there."""
        password = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
        return f"127.0.0.1:{self.port}:runs:tracker:{password}\n"


def program(name: str) -> str | None:
    """Return one of PostgreSQL's programs, which Debian keeps off the PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else shutil.which(name)


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """Start a server and end it; as another user if this one is root, which PostgreSQL refuses."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

    def run(name: str, *arguments: str) -> None:
        command = [*as_user, str(program(name)), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=HANG_S)

    password_file = folder / "password"
    password_file.write_text(SUPERUSER_PASSWORD)
    password_file.chmod(0o644)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            _create_database(port)
            yield Postgresql(port)
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _create_database(port: int) -> None:
    import psycopg2
    from psycopg2 import sql

    connection = psycopg2.connect(
        host="127.0.0.1", port=port, user="postgres", password=SUPERUSER_PASSWORD, dbname="postgres"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE ROLE tracker LOGIN PASSWORD {}").format(sql.Literal(PASSWORD)))
        cursor.execute("CREATE DATABASE runs OWNER tracker")
    connection.close()
