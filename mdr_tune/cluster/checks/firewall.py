"""Who can reach the machines on AWS: security groups."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from mdr_tune.cluster.checks.own_machines import is_example
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_list, as_mapping

_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_PLACEHOLDER = re.compile(r"sg-0+")


def check_firewall(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield machines that the world could reach, or whose security group is not set."""
    if not cluster.is_aws:
        return
    for _, path, node_type in cluster.node_types():
        config, here = as_mapping(node_type.get("node_config")), (*path, "node_config", "SecurityGroupIds")
        if not config.get("SecurityGroupIds") and "NetworkInterfaces" not in config:
            yield Problem(
                here, "is missing: Ray would make a group whose port 22 is open to the world; docs/cluster.md makes one"
            )
        for i, group in enumerate(as_list(config.get("SecurityGroupIds"))):
            if _PLACEHOLDER.fullmatch(str(group)):
                yield Problem((*here, str(i)), f"{group} is an example: set your group's, see docs/cluster.md")
            elif not _GROUP.fullmatch(str(group)):
                yield Problem((*here, str(i)), f"expected the id of a security group, sg-..., got {group!r}")
    rules = as_mapping(cluster.provider.get("security_group")).get("IpPermissions")
    for i, rule in enumerate(as_list(rules)):
        yield from _rule_problems(as_mapping(rule), ("provider", "security_group", "IpPermissions", str(i)))


def _rule_problems(rule: dict[str, Any], path: tuple[str, ...]) -> Iterator[Problem]:
    for kind, key in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
        for i, source in enumerate(as_list(rule.get(kind))):
            address, here = str(as_mapping(source).get(key, "")), (*path, kind, str(i), key)
            if is_example(address):
                yield Problem(here, f"{address} is an address for examples: set yours")
            elif _is_world(address):
                yield Problem(
                    here, f"{address} is the whole internet: give the address from which you connect, as A.B.C.D/32"
                )


def _is_world(address: str) -> bool:
    try:
        return ipaddress.ip_network(address, strict=False).prefixlen == 0
    except ValueError:
        return False
