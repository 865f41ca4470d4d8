"""All checks of a cluster file, in one go."""

from dataclasses import replace
from pathlib import Path

from mdr_tune.cluster.checks import (
    aws_machines,
    aws_request,
    counts,
    firewall,
    installation,
    listening,
    mlflow_commands,
    own_machines,
    paths,
    provider,
    schema,
    secrets,
    token,
)
from mdr_tune.cluster.cluster_file import Problem, read_cluster_file
from mdr_tune.util.errors import UserError

_CHECKS = (
    provider.check_keys,
    provider.check_region,
    provider.check_key_pair_name,
    provider.check_user,
    own_machines.check_addresses,
    own_machines.check_autoscaler,
    counts.check_workers,
    counts.check_idle_timeout,
    aws_request.check_node_config,
    aws_machines.check_resources,
    aws_machines.check_gpu_is_supported,
    aws_machines.check_head_is_on_demand,
    aws_machines.check_image,
    aws_machines.check_volumes,
    aws_machines.check_metadata_service,
    aws_machines.check_role,
    aws_machines.check_key_pair,
    firewall.check_firewall,
    paths.check_file_mounts,
    paths.check_ssh_key,
    installation.check_project_is_copied,
    installation.check_project_is_installed,
    installation.check_placeholders,
    installation.check_scripts_are_there,
    installation.check_versions,
    listening.check_head_start,
    listening.check_worker_start,
    mlflow_commands.check_mlflow_is_private,
    mlflow_commands.check_mlflow_command,
    token.check_token,
    secrets.check_secrets,
)


def check_cluster_file(file: Path) -> None:
    """Check a cluster file for AWS or for machines of your own, without touching either.

    Paths in it are looked up from the current folder, as `ray up` does.

    Raises:
        UserError: With a line for each problem: file, line, key, what is wrong and what would be right.
    """
    cluster = read_cluster_file(file)
    found = list(schema.check_schema(cluster))
    if not found:
        effective, found = schema.completed(cluster)
        cluster = replace(cluster, effective=effective)
    if not found:
        found = [problem for check in _CHECKS for problem in check(cluster)]
    if found:
        raise UserError("\n".join(cluster.describe(problem) for problem in _in_order(found, cluster.lines)))


def _in_order(found: list[Problem], lines: dict[tuple[str, ...], int]) -> list[Problem]:
    """Return the problems by line; those of keys that are not written come first, those behind an alias once."""

    def line(path: tuple[str, ...]) -> int:
        return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 0)

    once: dict[object, Problem] = {}
    for problem in found:
        once.setdefault((line(problem.path), problem.path[-2:], problem.message), problem)
    return sorted(once.values(), key=lambda problem: line(problem.path))
