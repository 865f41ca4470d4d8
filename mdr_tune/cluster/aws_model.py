"""AWS's own description of its requests and regions, which botocore carries: no network is used."""

from functools import cache
from typing import Any

from mdr_tune.util.errors import UserError


@cache
def run_instances() -> Any:
    """Return the shape of the request that starts machines (EC2's RunInstances).

    Raises:
        UserError: botocore is not installed.
    """
    return _session().get_service_model("ec2").operation_model("RunInstances").input_shape


@cache
def regions() -> list[str]:
    """Return the names of all regions that have EC2, sorted.

    Raises:
        UserError: botocore is not installed.
    """
    session = _session()
    by_partition = [session.get_available_regions("ec2", name) for name in session.get_available_partitions()]
    return sorted({region for some in by_partition for region in some})


def _session() -> Any:
    try:
        import botocore.session
    except ModuleNotFoundError:
        raise UserError(
            "boto3 is not installed, which `ray up` needs for AWS too: pip install 'mdr_tune[cluster]'"
        ) from None
    return botocore.session.get_session()
