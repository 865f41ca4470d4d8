"""Whether the MLflow server can keep its files where it shall, asked before it is started."""

import os
import sys
import uuid

from mdr_tune.cluster.mlflow_server.databases import check_writable
from mdr_tune.cluster.mlflow_server.environment import environment_file
from mdr_tune.cluster.mlflow_server.settings import ServerSettings
from mdr_tune.util.errors import UserError


def check_artifacts(settings: ServerSettings) -> None:
    """Write and remove a small file where the artifacts shall be.

    Raises:
        UserError: It cannot be written; the text says why, and what to do.
    """
    if settings.artifacts_folder is not None:
        check_writable(settings.artifacts_folder, "--artifacts-destination")
    else:
        _check_s3(settings.artifacts_destination)


def _check_s3(place: str) -> None:
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
    except ClientError as error:
        raise UserError(_refused(place, bucket, error.response.get("Error", {}))) from None
    except BotoCoreError as error:
        raise UserError(f"--artifacts-destination {place}: {_unreached(error)}") from None


def _refused(place: str, bucket: str, error: dict[str, str]) -> str:
    code = error.get("Code", "")
    if code == "NoSuchBucket":
        return f"--artifacts-destination {place}: there is no bucket {bucket}; create it (aws s3 mb s3://{bucket})"
    return (
        f"--artifacts-destination {place}: S3 refused to write ({code}: {error.get('Message', '')}); the server's "
        "role or credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject in it"
    )


def _unreached(error: Exception) -> str:
    reason = " ".join(str(error).split())
    return (
        f"S3 cannot be used ({reason}). The server takes credentials from this machine's role, from ~/.aws, or from "
        f"the variables in {environment_file()}; MLFLOW_S3_ENDPOINT_URL there names another S3 than Amazon's"
    )
