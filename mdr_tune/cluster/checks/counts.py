"""How many machines there may be, and when idle ones go."""

from collections.abc import Iterator

from mdr_tune.cluster.cluster_file import ClusterFile, Problem


def check_workers(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield numbers of workers that are negative, contradict each other, or leave nobody to train."""
    most = cluster.effective.get("max_workers", 0)
    if most < 0:
        yield Problem(("max_workers",), f"expected 0 or more, got {most}")
    can_train = False
    for name, path, node_type in cluster.node_types():
        fewest = node_type.get("min_workers", 0)
        highest = node_type.get("max_workers", 0 if name == cluster.head_type else most)
        for key, number in (("min_workers", fewest), ("max_workers", highest)):
            if number < 0 and key in node_type:
                yield Problem((*path, key), f"expected 0 or more, got {number}")
        if fewest > highest:
            yield Problem((*path, "min_workers"), f"{fewest} is more than the max_workers of this type, {highest}")
        if highest > most and "max_workers" in node_type:
            yield Problem(
                (*path, "max_workers"), f"{highest} is more than max_workers of the cluster, {most}: set both"
            )
        if fewest > most:
            yield Problem((*path, "min_workers"), f"{fewest} is more than max_workers of the cluster, {most}")
        can_train = can_train or highest > 0
    if cluster.is_aws and (most == 0 or not can_train):
        yield Problem(("max_workers",), "no worker may ever start: set it, and that of a worker's type, to 1 or more")


def check_idle_timeout(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield that idle machines would be paid for without end, or for a time that nobody chose."""
    if not cluster.is_aws:
        return
    if "idle_timeout_minutes" not in cluster.tree:
        yield Problem(
            ("idle_timeout_minutes",), "is missing: after how many minutes an idle worker is given back, say 15"
        )
    elif cluster.tree["idle_timeout_minutes"] <= 0:
        yield Problem(
            ("idle_timeout_minutes",), f"expected more than 0 minutes, got {cluster.tree['idle_timeout_minutes']}"
        )
