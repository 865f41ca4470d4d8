"""Who can reach the machines on AWS: security groups."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from mdr_tune.cluster.checks.own_machines import is_example
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_list, as_mapping
from mdr_tune.config.yaml_lines import KeyPath

_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_PLACEHOLDER = re.compile(r"sg-0+")
_INTERFACES = ("node_config", "NetworkInterfaces")
_WIDEST = {4: 16, 6: 32}  # shortest prefix by version of IP; the stack takes no wider one either


def check_firewall(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield machines that the world could reach, or whose security group is not set."""
    if not cluster.is_aws:
        return
    for _, path, node_type in cluster.node_types():
        config = as_mapping(node_type.get("node_config"))
        interfaces = as_list(config.get("NetworkInterfaces"))
        if interfaces:
            for i, interface in enumerate(interfaces):
                groups, here = as_mapping(interface).get("Groups"), (*path, *_INTERFACES, str(i), "Groups")
                if not groups:
                    yield Problem(here, "is missing: the security group of this interface")
                yield from _group_problems(groups, here)
            continue
        groups, here = config.get("SecurityGroupIds"), (*path, "node_config", "SecurityGroupIds")
        if not groups:
            yield Problem(
                here, "is missing: Ray would make a group whose port 22 is open to the world; docs/cluster.md makes one"
            )
        yield from _group_problems(groups, here)
    rules = as_mapping(cluster.provider.get("security_group")).get("IpPermissions")
    for i, rule in enumerate(as_list(rules)):
        yield from _rule_problems(as_mapping(rule), ("provider", "security_group", "IpPermissions", str(i)))


def _group_problems(groups: Any, path: KeyPath) -> Iterator[Problem]:
    for i, group in enumerate(as_list(groups)):
        if _PLACEHOLDER.fullmatch(str(group)):
            yield Problem((*path, str(i)), f"{group} is an example: set your group's, see docs/cluster.md")
        elif not _GROUP.fullmatch(str(group)):
            yield Problem((*path, str(i)), f"expected the id of a security group, sg-..., got {group!r}")


def _rule_problems(rule: dict[str, Any], path: KeyPath) -> Iterator[Problem]:
    for kind, key in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
        for i, source in enumerate(as_list(rule.get(kind))):
            address, here = str(as_mapping(source).get(key, "")), (*path, kind, str(i), key)
            if is_example(address):
                yield Problem(here, f"{address} is an address for examples: set yours")
            elif _is_wide(address):
                whole = "the whole internet" if address.endswith("/0") else "a large part of the internet"
                yield Problem(here, f"{address} is {whole}: give the address from which you connect, as A.B.C.D/32")


def _is_wide(address: str) -> bool:
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        return False
    return network.prefixlen < _WIDEST[network.version]
