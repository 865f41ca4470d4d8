"""Join a running Ray cluster, or say at once why it cannot be joined, and count its nodes."""

import ipaddress
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdr_tune.cluster.auth_token import close_token, token_file
from mdr_tune.cluster.autoscaler import autoscaler_here, node_of
from mdr_tune.cluster.machine import Machine
from mdr_tune.cluster.ray_environment import prepare_environment
from mdr_tune.util.errors import UserError
from mdr_tune.util.signals import interrupts_answered, signal_handlers_kept
from mdr_tune.util.words import count

CONNECT_TIMEOUT_S = 5.0
HEAD_TIMEOUT_S = 20.0
"""Seconds in which the head must answer, including the start of a process that imports Ray and asks it."""
OWNED_MACHINES_TIMEOUT_S = 180.0
"""Seconds to wait for the machines of the provider `local`. They join about 30 s after `ray up` has returned."""
POLL_S = 1.0


def connect(address: str) -> None:
    """Connect this process to the Ray cluster whose head has the `address` HOST:PORT.

    `auto` stands for the address in RAY_ADDRESS, or else for the cluster that was last started on this machine.

    Raises:
        UserError: No Ray head answers at the address, the cluster wants another token, or the address is one for Ray
            Client (`ray://`), with which Ray Train does not work.
    """
    prepare_environment()
    close_token()
    _check_address(address)
    import ray

    try:
        with interrupts_answered(), signal_handlers_kept():  # Ray's handler would end the process at once
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(_no_answer(address, str(error).splitlines()[0])) from None


def joined_cluster(tell: Callable[[str], None], timeout_s: float = OWNED_MACHINES_TIMEOUT_S) -> Machine:
    """Return the CPUs and GPUs of the cluster that this process has joined, and of nodes that its autoscaler may add.

    If the machines are the user's own (provider `local`), first wait up to `timeout_s` seconds until all have joined.
    `tell` is called with a line for the user when the wait begins, and if machines did not join.
    """
    import ray

    autoscaler = autoscaler_here(ray.get_runtime_context().gcs_address)
    if autoscaler is not None:
        _wait_for(autoscaler.owned_addresses, tell, timeout_s)
    alive = _alive_nodes()
    nodes = tuple(node_of(node["Resources"], node["NodeManagerAddress"]) for node in alive)
    coming = autoscaler.coming(alive) if autoscaler is not None else ()
    cpus = sum(node.cpus for node in nodes) + sum(kind.count * kind.node.cpus for kind in coming)
    gpus = sum(node.gpus for node in nodes) + sum(kind.count * kind.node.gpus for kind in coming)
    return Machine(cpus, gpus, f"the cluster of {count(len(nodes), 'node')}", nodes, coming)


def _alive_nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _wait_for(addresses: list[str], tell: Callable[[str], None], timeout_s: float) -> None:
    deadline, told = time.monotonic() + timeout_s, False
    while missing := _missing(addresses):
        if time.monotonic() > deadline:
            tell(
                f"{', '.join(missing)} did not join within {timeout_s:g} s: going on without; look at "
                "`ray exec CLUSTER_FILE 'tail -n 100 /tmp/ray/session_latest/logs/monitor*'`"
            )
            return
        if not told:
            tell(f"waiting for {', '.join(missing)} to join the cluster, for up to {timeout_s:g} s")
            told = True
        time.sleep(POLL_S)


def _missing(addresses: list[str]) -> list[str]:
    return not_joined(addresses, {node["NodeManagerAddress"] for node in _alive_nodes()})


def not_joined(addresses: list[str], here: set[str]) -> list[str]:
    """Return those `addresses` (IPs or host names) whose IP is not in `here`, the IPs of the nodes that have joined.

    A host name that resolves to a loopback address is this machine, which has joined. Debian, for example, resolves a
    machine's own name to 127.0.1.1.
    """
    return [address for address in addresses if (ip := _ip_of(address)) not in here and not ip.startswith("127.")]


def _ip_of(address: str) -> str:
    """Return the IP of the host `address`, or `address` itself if it cannot be resolved."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        try:
            return socket.gethostbyname(address)
        except OSError:
            return address


def _given(address: str) -> str:
    """Return the setting from which `address` comes, for messages: `RAY_ADDRESS=...` or `--address ...`."""
    return f"RAY_ADDRESS={address}" if os.environ.get("RAY_ADDRESS") == address else f"--address {address}"


def _no_answer(address: str, why: str) -> str:
    given = _given(address)
    instead = "unset RAY_ADDRESS" if given.startswith("RAY_ADDRESS") else "leave --address out"
    return (
        f"{given}: no Ray cluster answers there ({why}); start one (ray up cluster.yaml, or ray start --head), or "
        f"{instead} to use this machine"
    )


def _check_address(address: str) -> None:
    """Raise UserError if no cluster that can run a sweep is at `address`. Ray itself might try to join for minutes."""
    if address.startswith("ray://"):
        raise UserError(
            f"{_given(address)}: Ray Client cannot run a sweep; run launch.py on the head node with --address auto, or "
            "submit it there with ray job submit"
        )
    listening = _running_cluster() if address == "auto" else address
    if listening is None:
        return  # Ray looks for a cluster itself, and says at once that there is none
    host, colon, port = listening.rpartition(":")
    if not colon or not port.isdigit():
        raise UserError(f"{_given(address)}: expected auto or HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise UserError(_no_answer(address, str(error))) from None
    _check_head(address, listening)


def _check_head(address: str, listening: str) -> None:
    """Raise UserError unless a Ray head answers at `listening` (HOST:PORT) and accepts this user's token.

    A separate process asks the head, because a failed attempt in this process would never end, and would print Ray's
    messages. The error names `address`, which the user gave: HOST:PORT or `auto`.
    """
    if token_file().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray sets it by itself for "auto" only
    ask = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", listening, "--skip-version-check"]
    try:
        asked = subprocess.run(ask, capture_output=True, text=True, timeout=HEAD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{_given(address)}: something listens there, but it does not answer as the head of a Ray cluster does; "
            "the port is that of `ray start --head`, 6379 if none was given"
        ) from None
    if "AuthenticationError" in asked.stderr:
        raise UserError(
            f"{_given(address)}: the cluster wants another token; put the one that `ray get-auth-token` shows on its "
            f"head into {token_file()} here, and set RAY_AUTH_MODE=token"
        )
    if asked.returncode != 0:
        why = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        raise UserError(_no_answer(address, why))


def _running_cluster() -> str | None:
    """Return the address that `auto` stands for (see `connect`), or None if there is no such address."""
    noted = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    given = os.environ.get("RAY_ADDRESS")
    return (given if given != "auto" else None) or (noted.read_text().strip() if noted.exists() else None) or None
