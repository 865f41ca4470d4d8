"""Check who can reach the machines of a cluster file, and whether their secrets are protected."""

import ipaddress
import os
import re
from collections.abc import Iterator
from typing import Any

from mdr_tune.cluster.checks.commands import ray_starts, setup_commands
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_list, as_mapping, is_example
from mdr_tune.cluster.machine import LOOPBACK
from mdr_tune.config.yaml_lines import KeyPath

_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_WIDEST = {4: 16, 6: 32}  # shortest prefix for each version of IP; for 4, clusters/aws_account.yaml has this limit too
TOKEN_PLACE = "~/.ray/auth_token"
_SECRETS = (
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"), "a key of AWS"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"://[^/\s:@]+:[^/\s:@$]+@"), "a password in an address"),
    (
        re.compile(
            r"\b\w*(secret_access_key|password|passwd|secret|api_key|token)\w*\s*=\s*['\"]?[^\s'\"$;/~]+", re.IGNORECASE
        ),
        "a password or token",
    ),
    (re.compile(r"--(password|secret|api-key|token)[ =]['\"]?[^\s'\"$;/~-]"), "a password or token"),
    (re.compile(r"\b(echo|printf)\b[^$`;&|]*>\s*\S*auth_token"), "Ray's token"),
    (re.compile(r"\b(ghp|github_pat|hf|glpat)_[A-Za-z0-9_]{20,}"), "a token"),
)
_WHERE = (
    "keep it out of this file: a role of the machine (IamInstanceProfile), or a file in file_mounts that only you read"
)


def check_security_groups(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each AWS machine in `cluster` without a security group, or with an invalid or example id.

    Without a security group, Ray would make a group whose port 22 is open to the whole internet.
    """
    for _, path, config in cluster.aws_machines():
        places = [
            ((*path, "NetworkInterfaces", str(i), "Groups"), as_mapping(interface).get("Groups"))
            for i, interface in enumerate(as_list(config.get("NetworkInterfaces")))
        ] or [((*path, "SecurityGroupIds"), config.get("SecurityGroupIds"))]
        for here, groups in places:
            if not groups:
                yield Problem(
                    here,
                    "is missing: Ray would make a group whose port 22 is open to the world; docs/cluster.md makes one",
                )
            for i, group in enumerate(map(str, as_list(groups))):
                if not group.removeprefix("sg-").strip("0"):
                    yield Problem((*here, str(i)), f"{group} is an example: set your group's, see docs/cluster.md")
                elif not _GROUP.fullmatch(group):
                    yield Problem((*here, str(i)), f"expected the id of a security group, sg-..., got {group!r}")


def check_open_ports(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each security rule in `cluster` that admits much of the internet or an example address."""
    rules = as_mapping(cluster.provider.get("security_group")).get("IpPermissions")
    for n, rule in enumerate(as_list(rules)):
        for kind, key in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
            for i, source in enumerate(as_list(as_mapping(rule).get(kind))):
                address = str(as_mapping(source).get(key, ""))
                here = ("provider", "security_group", "IpPermissions", str(n), kind, str(i), key)
                if is_example(address):
                    yield Problem(here, f"{address} is an address for examples: set yours")
                elif _is_wide(address):
                    whole = "the whole internet" if address.endswith("/0") else "a large part of the internet"
                    yield Problem(here, f"{address} is {whole}: give the address from which you connect, as A.B.C.D/32")


def check_dashboard(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem if other machines could reach Ray's dashboard in `cluster`, where anyone can run commands."""
    for start in ray_starts(cluster, "head"):
        host = start.option("--dashboard-host")
        if host is not None and host not in LOOPBACK:
            yield Problem(
                start.path,
                f"--dashboard-host={host}: expected 127.0.0.1: whoever reaches it can run commands on all machines; "
                "`ray dashboard FILE` leads to it",
            )


def check_mlflow(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each MLflow server in `cluster` that other machines could reach, perhaps without password."""
    for command in setup_commands(cluster):
        if any(command.runs(*program) for program in (("mlflow-server",), ("mlflow", "server"), ("mlflow", "ui"))):
            host = command.option("--host") or command.option("-h") or command.variables.get("MLFLOW_HOST", "127.0.0.1")
            if host not in LOOPBACK:
                yield Problem(
                    command.path,
                    f"MLflow on {host}: expected 127.0.0.1, reached by a tunnel; see docs/mlflow_server.md",
                )


def check_token(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem if `cluster` starts Ray without a token, copies none to its machines, or lets others read it."""
    for kind in ("head", "worker"):
        for start in ray_starts(cluster, kind):
            mode = start.variables.get("RAY_AUTH_MODE")
            if mode != "token":
                found = f"it is {mode!r}" if mode is not None else "it is not there"
                yield Problem(start.path, f"expected RAY_AUTH_MODE=token before `ray start`, {found}")
    mounts = as_mapping(cluster.tree.get("file_mounts"))
    if TOKEN_PLACE not in mounts:
        yield Problem(
            ("file_mounts",),
            f"expected {TOKEN_PLACE}: {TOKEN_PLACE}, the token that `ray get-auth-token --generate` makes",
        )
        return
    file = mounts[TOKEN_PLACE]
    local = os.path.expanduser(str(file))
    if os.path.isfile(local) and os.stat(local).st_mode & 0o077:
        yield Problem(("file_mounts", TOKEN_PLACE), f"other users can read {file}: chmod 600 {file}")


def check_secrets(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each key, password or token that is written in the `cluster` file, without showing it."""
    if "aws_credentials" in cluster.provider:
        yield Problem(("provider", "aws_credentials"), f"keys of AWS: {_WHERE}; your own are in ~/.aws")
    for path, text in _texts(cluster.tree, ()):
        what = next((what for pattern, what in _SECRETS if pattern.search(text)), None)
        if what is not None and path[:2] != ("provider", "aws_credentials"):
            yield Problem(path, f"{what} is written here: {_WHERE}")


def check_metadata_service(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each machine in `cluster` that allows version 1 of AWS's metadata service.

    With version 1, a forged request to a program on the machine could read the machine's credentials.
    """
    for _, path, config in cluster.aws_machines():
        if as_mapping(config.get("MetadataOptions")).get("HttpTokens") != "required":
            yield Problem(
                (*path, "MetadataOptions"),
                "expected {HttpTokens: required}, so that only processes that ask for a token read the machine's role",
            )


def check_role(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem if the head of `cluster` has no IAM role: Ray would make a role with too many permissions."""
    for name, path, config in cluster.aws_machines():
        if name == cluster.head_type and not config.get("IamInstanceProfile"):
            yield Problem(
                (*path, "IamInstanceProfile"),
                "is missing: Ray would make a role that may do everything in EC2 and S3; clusters/aws_account.yaml "
                "makes one that may do what is needed",
            )


def check_encryption(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each unencrypted disk in `cluster`, and for each machine for which no disks are set."""
    for _, path, config in cluster.aws_machines():
        here = (*path, "BlockDeviceMappings")
        disks = [(str(i), as_mapping(disk).get("Ebs")) for i, disk in enumerate(as_list(config.get(here[-1])))]
        volumes = [(i, as_mapping(volume)) for i, volume in disks if volume is not None]
        if not volumes:
            yield Problem(here, "is missing: the image's own disk is small and not encrypted; see cluster.yaml")
        for i, volume in volumes:
            if volume.get("Encrypted") is not True:
                yield Problem((*here, i, "Ebs", "Encrypted"), "expected true: the disk holds data, token and key")


def _is_wide(address: str) -> bool:
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        return False
    return network.prefixlen < _WIDEST[network.version]


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, str(key)))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, (*path, str(i)))
    elif isinstance(value, str):
        yield path, value
