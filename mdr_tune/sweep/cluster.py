"""Join a Ray cluster that runs already, or say at once why it cannot be joined."""

import logging
import os
import socket
from pathlib import Path

from mdr_tune.errors import UserError
from mdr_tune.sweep.session import prepare_environment

CONNECT_TIMEOUT_S = 5.0


def connect(address: str) -> None:
    """Connect this process to the cluster at `address`: `auto`, or host:port.

    Raises:
        UserError: Nothing answers there, or it is Ray Client's, through which Ray Train cannot be driven.
    """
    _check_address(address)
    prepare_environment()
    if (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray knows by itself for "auto" only
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError) as error:
        token = ". A cluster with token authentication needs RAY_AUTH_MODE=token in the environment"
        raise UserError(_no_answer(address, str(error).splitlines()[0]) + token) from None


def _no_answer(address: str, why: str) -> str:
    return (
        f"--address {address}: no Ray cluster answers there ({why}); start one (ray up cluster.yaml, or "
        "ray start --head), or leave --address out to use this machine"
    )


def _check_address(address: str) -> None:
    """Refuse at once what Ray would try for minutes, or could not serve a sweep."""
    if address.startswith("ray://"):
        raise UserError(
            f"--address {address}: Ray Client cannot run a sweep; run launch.py on the head node with --address auto, "
            "or submit it there with ray job submit"
        )
    listening = _running_cluster() if address == "auto" else address
    if listening is None:
        return  # Ray looks for itself, and says at once that there is none
    host, colon, port = listening.rpartition(":")
    if not colon or not port.isdigit():
        raise UserError(f"--address {address}: expected auto or HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise UserError(_no_answer(address, str(error))) from None


def _running_cluster() -> str | None:
    """Return what `auto` stands for: RAY_ADDRESS, or the cluster that was last started on this machine."""
    noted = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    return os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.exists() else None) or None
