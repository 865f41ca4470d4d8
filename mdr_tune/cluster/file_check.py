"""Run all checks of a cluster file."""

from dataclasses import replace
from pathlib import Path

from mdr_tune.cluster.checks import access, aws_machines, installation, schema
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, read_cluster_file
from mdr_tune.util.errors import UserError

_CHECKS = (
    access.check_security_groups,
    access.check_open_ports,
    access.check_dashboard,
    access.check_mlflow,
    access.check_token,
    access.check_secrets,
    access.check_metadata_service,
    access.check_role,
    access.check_encryption,
    aws_machines.check_request,
    aws_machines.check_resources,
    aws_machines.check_gpu_is_supported,
    aws_machines.check_head_is_on_demand,
    aws_machines.check_image,
    aws_machines.check_workers,
    installation.check_addresses,
    installation.check_bucket,
    installation.check_files,
    installation.check_versions,
    installation.check_autoscaler,
)


def check_cluster_file(file: Path) -> None:
    """Raise UserError if a cluster `file` has problems, without contacting AWS or any machine.

    The message has one line for each problem: file, line, key, what is wrong and what would be right. Relative paths in
    the file are taken from the current folder, as `ray up` does.
    """
    cluster = read_cluster_file(file)
    effective, found = schema.completed(cluster)
    cluster = replace(cluster, effective=effective)
    if not found:
        found = [problem for check in _CHECKS for problem in check(cluster)]
    if found:
        raise UserError("\n".join(map(cluster.describe, _in_order(found, cluster))))


def _in_order(found: list[Problem], cluster: ClusterFile) -> list[Problem]:
    """Return the problems `found` in `cluster` in the order of their lines. Problems without a line come first.

    A problem that several keys have because they share a YAML alias is returned once.
    """
    once: dict[object, Problem] = {}
    for problem in found:
        once.setdefault((cluster.line(problem.path), problem.path[-2:], problem.message), problem)
    return sorted(once.values(), key=lambda problem: cluster.line(problem.path))
