"""Files and folders that a cluster file names on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from mdr_tune.cluster.checks.token import TOKEN_PLACE
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_mapping

_HEAVY = (".venv", ".git", "runs", "datasets")


def check_file_mounts(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield what would be copied to the machines and is not there, or holds far more than they need."""
    for remote, local in as_mapping(cluster.tree.get("file_mounts")).items():
        path, here = ("file_mounts", str(remote)), Path(os.path.expanduser(str(local)))
        if not os.path.exists(here):  # Path.exists raises for a name that no file can have
            how = " Make it: ray get-auth-token --generate" if remote == TOKEN_PLACE else ""
            from_here = "" if here.is_absolute() else f" in {Path.cwd()}, from where `ray up` would be called"
            yield Problem(path, f"{local}: no such file or folder{from_here}.{how}")
            continue
        heavy = [name for name in _HEAVY if (here / name).exists()]
        if heavy:
            yield Problem(
                path,
                f"{local} holds {', '.join(heavy)}: `ray up` reads all files below it each time, also those that "
                "rsync_exclude leaves out. Name the folders that the machines need, as cluster.yaml does.",
            )


def check_ssh_key(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield an ssh key that is not there, or that ssh would not use since others can read it."""
    key = as_mapping(cluster.tree.get("auth")).get("ssh_private_key")
    if key is None:
        if not cluster.is_aws:
            yield Problem(("auth", "ssh_private_key"), "is missing: the key that opens all machines")
        return
    file, path = Path(os.path.expanduser(str(key))), ("auth", "ssh_private_key")
    if not os.path.isfile(file):
        yield Problem(path, f"{key}: no such file")
    elif file.stat().st_mode & 0o077:
        yield Problem(path, f"{key}: other users can read it, ssh will not use it: chmod 600 {key}")
