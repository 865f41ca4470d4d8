"""Ray's token: without it, whoever reaches a port of Ray runs commands on all machines."""

import os
from collections.abc import Iterator

from mdr_tune.cluster.checks.commands import is_ray_start, start_commands
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_mapping

TOKEN_PLACE = "~/.ray/auth_token"


def check_token(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield where Ray starts without demanding a token, and that the machines do not get one."""
    for kind in ("head", "worker"):
        for command in start_commands(cluster, kind):
            mode = command.variables.get("RAY_AUTH_MODE")
            if is_ray_start(command) and mode != "token":
                found = f"it is {mode!r}" if mode is not None else "it is not there"
                yield Problem(command.path, f"expected RAY_AUTH_MODE=token before `ray start`, {found}")
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
