"""Check the files and packages that the machines get, and find values that were left as in the examples."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mdr_tune.cluster.checks.access import TOKEN_PLACE
from mdr_tune.cluster.checks.commands import Command, ray_starts, setup_commands
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_list, as_mapping, is_example
from mdr_tune.config.yaml_lines import KeyPath

_HEAD_ADDRESSES = ("head_ip", "external_head_ip")
_BUCKET = re.compile(r"s3://BUCKET\b")
_NIGHTLY = re.compile(r"ray-wheels|\.dev\d+|nightly|^--pre$")


def check_addresses(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each address in `cluster` that was left as in the example."""
    provider = cluster.provider
    places: list[tuple[KeyPath, object]] = [(("provider", key), provider.get(key)) for key in _HEAD_ADDRESSES]
    places += [(("provider", "worker_ips", str(i)), ip) for i, ip in enumerate(as_list(provider.get("worker_ips")))]
    for path, address in places:
        if is_example(str(address)):
            yield Problem(path, f"{address}: is an address for examples: set your machine's")


def check_bucket(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each command in `cluster` that still has the bucket of the examples, `s3://BUCKET`."""
    for command in setup_commands(cluster):
        if any(map(_BUCKET.search, command.words)):
            yield Problem(command.path, "s3://BUCKET is an example: write the name of your bucket")


def check_files(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each file mount of `cluster`, and for its SSH key, if the file on this machine is missing."""
    named = {("file_mounts", str(remote)): str(local) for remote, local in _mounts(cluster).items()}
    if "ssh_private_key" in (auth := as_mapping(cluster.tree.get("auth"))):
        named["auth", "ssh_private_key"] = str(auth["ssh_private_key"])
    elif not cluster.is_aws:
        yield Problem(("auth", "ssh_private_key"), "is missing: the key that opens all machines")
    for path, local in named.items():
        place = os.path.expanduser(local)
        if not os.path.exists(place):  # Path.exists raises for a name that no file can have
            where = "" if os.path.isabs(place) else f" in {Path.cwd()}, from where `ray up` would be called"
            how = " Make it: ray get-auth-token --generate" if path[-1] == TOKEN_PLACE else ""
            yield Problem(path, f"{local}: no such file or folder{where}.{how}")


def check_versions(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each package that `cluster` installs unreleased or not as pinned in requirements.txt."""
    pins = _pins(Path("requirements.txt"))
    for command in setup_commands(cluster):
        if not command.runs("pip", "install"):
            continue
        nightly = [word for word in command.words if _NIGHTLY.search(word)]
        others = [f"{word}, but requirements.txt pins {pin}" for word, pin in _other_versions(command, pins)]
        for what in [f"an unreleased version ({nightly[0]})"] if nightly else others:
            yield Problem(command.path, f"installs {what}; clusters/setup_node.sh installs what is pinned")


def check_autoscaler(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem if no worker of `cluster` would ever be started.

    This is so if the head runs no autoscaler, or version 2 of it, which starts no workers on the user's own machines.
    """
    for start in ray_starts(cluster, "head"):
        if start.option("--autoscaling-config") is None:
            yield Problem(
                start.path, "--autoscaling-config=~/ray_bootstrap_config.yaml is missing: no worker would ever start"
            )
        if not cluster.is_aws and start.variables.get("RAY_enable_autoscaler_v2") != "0":
            yield Problem(
                start.path,
                "expected RAY_enable_autoscaler_v2=0 before `ray start`: Ray's default never starts a worker here",
            )


def _mounts(cluster: ClusterFile) -> dict[str, object]:
    return as_mapping(cluster.tree.get("file_mounts"))


def _pins(file: Path) -> dict[str, str]:
    from packaging.requirements import Requirement

    if not file.is_file():
        return {}
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pinned = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    return {pin.name: next(iter(pin.specifier)).version for pin in pinned}


def _other_versions(command: Command, pins: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield a pair of texts for each package that `pip install` in `command` may not install in its pinned version.

    A pair is the word in the command, such as `torch>=2`, and the pin, `torch==2.14.1`. `pins` has versions by name.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for word in command.words[command.words.index("install") + 1 :]:
        try:
            requirement = Requirement(word)
        except InvalidRequirement:  # an option, a path, an address
            continue
        name = str(canonicalize_name(requirement.name))
        is_exact = any(part.operator == "==" for part in requirement.specifier)
        if name in pins and not (is_exact and requirement.specifier.contains(pins[name], prereleases=True)):
            yield word, f"{name}=={pins[name]}"
