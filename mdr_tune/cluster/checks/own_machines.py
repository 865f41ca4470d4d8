"""Machines of your own: their addresses, and the autoscaler that starts Ray on them."""

import ipaddress
import re
from collections.abc import Iterator

from mdr_tune.cluster.checks.commands import is_ray_start, start_commands
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_list
from mdr_tune.config.yaml_lines import KeyPath

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_EXAMPLES = [ipaddress.IPv4Network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


def check_addresses(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield addresses that nobody has, and machines that stand twice."""
    if cluster.is_aws:
        return
    provider, seen = cluster.provider, set()
    places: list[tuple[KeyPath, object]] = [(("provider", "head_ip"), provider.get("head_ip"))]
    places += [(("provider", "worker_ips", str(i)), ip) for i, ip in enumerate(as_list(provider.get("worker_ips")))]
    for path, address in places:
        if not isinstance(address, str) or not address.strip():
            yield Problem(path, f"expected an address or a host name, got {address!r}")
            continue
        wrong = _wrong_with(address, is_worker=path[-1] != "head_ip")
        if wrong:
            yield Problem(path, f"{address}: {wrong}")
        if address in seen:
            yield Problem(path, f"{address} stands twice")
        seen.add(address)
    external = provider.get("external_head_ip")
    if external is not None and is_example(str(external)):
        yield Problem(("provider", "external_head_ip"), f"{external} is an address for examples: set your machine's")


def _wrong_with(address: str, is_worker: bool) -> str:
    """Say what is wrong with the address, or name, of a machine; "" if nothing is."""
    if is_example(address):
        return "is an address for examples: set your machine's"
    if "@" in address:
        return "expected the address alone; the user is auth.ssh_user"
    if re.fullmatch(r"[^:]+:\d+", address):
        return "expected the address alone; a port for ssh goes into ~/.ssh/config"
    if re.fullmatch(r"[\d.]+", address):
        try:
            ip = ipaddress.IPv4Address(address)
        except ValueError:
            return "is no IPv4 address"
        return (
            "is the machine's own address for itself: the head cannot reach it" if ip.is_loopback and is_worker else ""
        )
    return "" if _NAME.fullmatch(address) or ":" in address else "is no address or host name"


def check_autoscaler(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield that the head would run Ray's autoscaler v2, which never starts a worker on machines of one's own."""
    if cluster.is_aws:
        return
    for command in start_commands(cluster, "head"):
        if is_ray_start(command) and command.variables.get("RAY_enable_autoscaler_v2") != "0":
            yield Problem(
                command.path,
                "expected RAY_enable_autoscaler_v2=0 before `ray start`: Ray's default never starts a worker here",
            )


def is_example(address: str) -> bool:
    """Return whether an address, or a network such as 203.0.113.7/32, is one for documentation (RFC 5737)."""
    try:
        network = ipaddress.IPv4Network(address, strict=False)
    except ValueError:
        return False
    return any(network.subnet_of(example) for example in _EXAMPLES)
