"""What the facts of the nodes mean: problems and notes. Plain functions of what a `Probe` found."""

from collections.abc import Mapping
from typing import Any

from mdr_tune.sweep.preflight.problems import Problem

SET_UP_AGAIN = "sync the project and set up that node again: `ray up CLUSTER_FILE`, or clusters/setup_node.sh there"
CLOCK_TOLERANCE_S = 60.0
FREE_SHARE = 0.9
"""A GPU with less free memory than this share is used by somebody else."""


def of_versions(here: Mapping[str, str], nodes: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Compare the versions on the nodes with those of the driver's node.

    Args:
        here: Versions by name.
        nodes: What each node said, by address.
    """
    problems = []
    for node, facts in nodes.items():
        there = facts["versions"]
        if there["mdr_tune"] == "none" or there["sources of mdr_tune"] == "none":
            what = "mdr_tune cannot be imported by the Python that Ray runs there"
            problems.append(Problem("versions", node, what, SET_UP_AGAIN))
            continue
        differ = [
            f"{name} is {there[name]}, here {version}" for name, version in here.items() if there[name] != version
        ]
        if differ:
            problems.append(Problem("versions", node, ", ".join(differ), SET_UP_AGAIN))
    return problems


def of_clocks(here: float, nodes: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Note clocks that are far from the driver's, in seconds since 1970: times in MLflow and logs would mislead."""
    return [
        Problem("clocks", node, f"the clock is {facts['time'] - here:+.0f} s off", "set it: timedatectl", is_note=True)
        for node, facts in nodes.items()
        if abs(facts["time"] - here) > CLOCK_TOLERANCE_S
    ]


def of_collectives(nodes: Mapping[str, Mapping[str, Any]], uses_gpus: bool, spans_nodes: bool) -> list[Problem]:
    """Find what would let workers hang in a collective, or keep them from finding each other.

    Args:
        nodes: What each node said, by address.
        uses_gpus: NCCL joins the workers, else gloo.
        spans_nodes: The workers of a trial may be on several nodes.
    """
    problems = []
    for node, facts in nodes.items():
        environment = facts["environment"]
        if uses_gpus and environment.get("TORCH_NCCL_ASYNC_ERROR_HANDLING") == "0":
            what = "TORCH_NCCL_ASYNC_ERROR_HANDLING=0 lets a worker wait for ever for one that died"
            problems.append(Problem("time-outs", node, what, "leave it out of the environment of `ray start`"))
        is_loopback = facts["name_is"].startswith("127.") or not facts["name_is"]
        if spans_nodes and not uses_gpus and is_loopback and "GLOO_SOCKET_IFNAME" not in environment:
            means = facts["name_is"] or "no address"
            what = f"its name {facts['name']} stands for {means}, which gloo gives to the others"
            fix = "mend /etc/hosts, or set GLOO_SOCKET_IFNAME to the interface in the environment of `ray start`"
            problems.append(Problem("network", node, what, fix))
    return problems


def of_gpus(node: str, counted: int, facts: Mapping[str, Any]) -> list[Problem]:
    """Compare what torch sees of a node's GPUs with what Ray counts there.

    Args:
        node: Its address.
        counted: GPUs that Ray gives away there.
        facts: What `probe.gpus` said.
    """
    if "error" in facts:
        return [Problem("GPUs", node, f"torch cannot use them: {facts['error']}", "look at nvidia-smi there")]
    found = facts["found"]
    if len(found) != counted:
        what = f"Ray counts {counted}, torch sees {len(found)}"
        return [Problem("GPUs", node, what, "look at nvidia-smi and the driver there, or start Ray with --num-gpus")]
    problems = []
    for number, gpu in enumerate(found):
        if not gpu["equal"]:
            what = f"GPU {number} ({gpu['name']}) computes a wrong product"
            problems.append(Problem("GPUs", node, what, "take the machine out of the cluster"))
        elif gpu["free"] < FREE_SHARE * gpu["total"]:
            what = f"GPU {number} ({gpu['name']}) has {gpu['free'] / 2**30:.0f} of {gpu['total'] / 2**30:.0f} GiB free"
            problems.append(Problem("GPUs", node, what, "another process uses it: see nvidia-smi", is_note=True))
    return problems


def of_network(unreachable: Mapping[str, list[str]]) -> list[Problem]:
    """Report which nodes cannot open a connection to which others."""
    fix = "open all ports between the nodes: DDP chooses one itself (on AWS: the nodes' security group, to itself)"
    return [
        Problem("network", node, f"no connection to {', '.join(others)}", fix)
        for node, others in unreachable.items()
        if others
    ]
