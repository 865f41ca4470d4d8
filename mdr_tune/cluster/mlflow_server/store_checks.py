"""Check the database, the place for artifacts and the port before the MLflow server is started."""

import contextlib
import os
import sys
import uuid
from pathlib import Path

from mdr_tune.cluster.mlflow_server.environment import environment_file
from mdr_tune.tracking.mlflow_database import check_file, check_schema
from mdr_tune.util.disk_space import check_free
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import why_not_writable
from mdr_tune.util.sqlite_address import sqlite_file

NEEDED_BYTES = 200_000_000
"""Free space that a local database or a local folder for artifacts needs at the start."""
_CONNECT_TIMEOUT_S = 10


def check_database(uri: str) -> None:
    """Raise UserError unless the server can use the database at `uri` and its tables. A missing folder is made."""
    import sqlalchemy

    what = f"--backend-store-uri {uri}"
    file = sqlite_file(uri)
    if file is not None:
        _check_writable(file.parent, "--backend-store-uri: the folder")
        if file.exists() or file.is_symlink():  # else connecting would create it
            check_file(file, uri, what, writes=True, flag="--backend-store-uri")
        return
    try:
        engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})
        with engine.connect() as connection:
            check_schema(connection, uri, what)
        engine.dispose()
    except ImportError as error:
        raise UserError(
            f"{what}: its driver is not installed ({error}); {sys.executable} -m pip install psycopg2-binary"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        fix = "docs/mlflow_server.md has the steps"
        if "no password supplied" in reason or "password authentication failed" in reason:
            fix = "put the line HOST:PORT:DATABASE:USER:PASSWORD into ~/.pgpass (chmod 600)"
        raise UserError(f"{what}: cannot be used ({reason}); {fix}") from None


def check_artifacts(place: str) -> None:
    """Raise UserError unless files can be written to `place`: a folder, made if missing, or `s3://bucket/prefix`."""
    if "://" not in place:
        _check_writable(Path(place), "--artifacts-destination")
        return
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise UserError(
            f"--artifacts-destination {place}: boto3 is not installed; {sys.executable} -m pip install boto3"
        ) from None
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    key = "/".join(part for part in (prefix, f".mdr_tune_write_check_{uuid.uuid4().hex}") if part)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None,
            config=Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2}),
        )
        client.put_object(Bucket=bucket, Key=key, Body=b"")
        client.delete_object(Bucket=bucket, Key=key)
    except (ClientError, BotoCoreError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"--artifacts-destination {place}: S3 cannot be written ({reason}). The server takes credentials from this "
            f"machine's role, from ~/.aws, or from the variables in {environment_file()}, where MLFLOW_S3_ENDPOINT_URL "
            "names another S3 than Amazon's; they need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"
        ) from None


def check_port(port: int) -> None:
    """Raise UserError if a process listens on the TCP `port` of this machine.

    The message names the process if it belongs to this user.
    """
    import psutil

    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port:
            continue
        who = "a process of another user"
        if connection.pid is not None:
            who = f"process {connection.pid}"
            with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
                who += f" ({' '.join(psutil.Process(connection.pid).cmdline())[:80]})"
        raise UserError(
            f"--port {port}: is taken by {who}; end that process, or choose another port "
            "(and the same in MLFLOW_TRACKING_URI)"
        )


def _check_writable(folder: Path, flag: str) -> None:
    if problem := why_not_writable(folder):
        raise UserError(f"{flag} {folder}: cannot be written ({problem}); choose a writable folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_free(folder, NEEDED_BYTES, "for the MLflow server")
