"""The provider: keys that Ray's code reads (its schema lets any pass), region and zones."""

from collections.abc import Iterator

from mdr_tune.cluster.aws_model import regions
from mdr_tune.cluster.checks.schema import unknown_key
from mdr_tune.cluster.cluster_file import ClusterFile, Problem
from mdr_tune.registry import nearest_name

_COMMON = ["type", "use_internal_ips", "use_external_head_ip", "disable_node_updaters", "disable_launch_config_check"]
_KEYS = {
    "aws": [
        *_COMMON,
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "key_pair",
        "security_group",
        "aws_credentials",
        "cloudwatch",
    ],
    "local": [*_COMMON, "head_ip", "worker_ips", "external_head_ip"],
}


def check_keys(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield keys of the provider that Ray would ignore."""
    known = _KEYS[cluster.provider["type"]]
    for key in cluster.provider:
        if key not in known:
            yield Problem(("provider", str(key)), unknown_key(str(key), known))


def check_region(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a region that AWS does not have, and zones that are not in it."""
    if not cluster.is_aws:
        return
    region = cluster.provider.get("region")
    if not isinstance(region, str):
        yield Problem(("provider", "region"), "expected the name of a region, such as us-west-2")
        return
    known = regions()
    if region not in known:
        guess = nearest_name(region, known)
        yield Problem(
            ("provider", "region"), f"AWS has no region {region!r}." + (f" Did you mean {guess}?" if guess else "")
        )
    zones = str(cluster.provider.get("availability_zone", "")).split(",")
    for zone in filter(None, (zone.strip() for zone in zones)):
        if not zone.startswith(region) or zone == region:
            yield Problem(
                ("provider", "availability_zone"),
                f"{zone} is not a zone of {region}; its zones are {region}a and so on",
            )
