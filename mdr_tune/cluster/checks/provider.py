"""The provider: keys that Ray's code reads (its schema lets any pass), region and zones, user and key."""

from collections.abc import Iterator

from mdr_tune.cluster.aws_model import regions
from mdr_tune.cluster.checks.schema import unknown_key
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_mapping
from mdr_tune.util.registry import did_you_mean

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


def check_key_pair_name(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a `key_pair` that is not {key_name: NAME}: Ray would stop in the middle, or make a key of another name."""
    if "key_pair" not in cluster.provider:
        return
    pair = cluster.provider["key_pair"]
    if not isinstance(pair, dict) or set(pair) != {"key_name"} or not isinstance(pair["key_name"], str):
        yield Problem(("provider", "key_pair"), f"expected {{key_name: NAME}}, got {pair!r}")


def check_user(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield that Ray is not told as whom to connect."""
    if "ssh_user" not in as_mapping(cluster.effective.get("auth")):
        yield Problem(("auth", "ssh_user"), "is missing: the user on the machines; ubuntu on Ubuntu's images")


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
        yield Problem(("provider", "region"), f"AWS has no region {region!r}.{did_you_mean(region, known)}")
    zones = str(cluster.provider.get("availability_zone", "")).split(",")
    for zone in filter(None, (zone.strip() for zone in zones)):
        if not zone.startswith(region) or zone == region:
            yield Problem(
                ("provider", "availability_zone"),
                f"{zone} is not a zone of {region}; its zones are {region}a and so on",
            )
