"""Judge the facts that the probes report about the nodes: each function turns one kind of facts into problems or notes.

The argument `nodes` maps the name of each node to the report of its probe, which `probe.Probe.facts` returns.
"""

from collections.abc import Mapping
from typing import Any

from mdr_tune.sweep.preflight.problems import Problem

SET_UP_AGAIN = "sync the project and set up that node again: `ray up CLUSTER_FILE`, or clusters/setup_node.sh there"
BRING_DATA = "bring it there, the same on all nodes (docs/cluster.md)"
LEAVE_OUT = "leave it out of the environment"
BLOCKING_WAIT = ("TORCH_NCCL_BLOCKING_WAIT", "NCCL_BLOCKING_WAIT")
CLOCK_TOLERANCE_S = 60.0
FREE_SHARE = 0.9
"""Share of a GPU's memory that should be free. If less is free, another process uses the GPU."""


def of_versions(here: Mapping[str, str], nodes: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Return a problem for each of `nodes` whose `versions` differ from `here`, the versions on the driver's node."""
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


def of_clocks(before: float, nodes: Mapping[str, float], after: float) -> list[Problem]:
    """Return a note for each node whose clock differs from the driver's by more than CLOCK_TOLERANCE_S.

    With such a clock, the times in MLflow and in logs are misleading. `nodes` maps the name of each node to the time on
    its clock. `before` and `after` are the driver's times before it asked the nodes and after all had answered. All
    times are in seconds since 1970.
    """
    problems = []
    for node, said in nodes.items():
        off = min(said - before, 0.0) + max(said - after, 0.0)
        if abs(off) > CLOCK_TOLERANCE_S:
            what = f"the clock is {off:+.0f} s off"
            problems.append(Problem("clocks", node, what, "set it: timedatectl set-ntp true", is_note=True))
    return problems


def of_collectives(nodes: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Return problems and notes on environment variables of `nodes` that change the time-outs of NCCL's collectives.

    torch reads two names for each setting, and the name that begins with TORCH_ takes precedence. If neither
    TORCH_NCCL_ASYNC_ERROR_HANDLING nor TORCH_NCCL_BLOCKING_WAIT is set, Ray Train switches the handling of errors on.
    """
    problems = []
    for node, facts in nodes.items():
        environment = facts["environment"]
        handling = "TORCH_NCCL_ASYNC_ERROR_HANDLING"
        if handling not in environment and "TORCH_NCCL_BLOCKING_WAIT" in environment:
            handling = "NCCL_ASYNC_ERROR_HANDLING"
        if environment.get(handling) == "0":
            what = f"{handling}=0 lets a worker wait for ever for one that died"
            problems.append(Problem("time-outs", node, what, f"{LEAVE_OUT} of `ray start`"))
        waits = next((name for name in BLOCKING_WAIT if name in environment), None)
        if waits is not None and environment[waits].lower() in ("1", "t", "true", "y", "yes"):
            what = f"{waits}={environment[waits]} makes every step wait for its collectives"
            problems.append(Problem("time-outs", node, what, f"{LEAVE_OUT} of `ray start`", is_note=True))
    return problems


def of_names(nodes: Mapping[str, Mapping[str, Any]], spans_nodes: bool) -> list[Problem]:
    """Return a problem or a note for each of `nodes` whose host name resolves to a loopback address or to none.

    gloo gives the address of the host name to the other nodes, which cannot connect to a loopback address. This is a
    problem if `spans_nodes`, which means that the workers of a trial are certainly on several nodes. Otherwise it is a
    note, since they may still be on several nodes when one node is full.
    """
    problems = []
    for node, facts in nodes.items():
        is_loopback = facts["name_is"].startswith("127.") or not facts["name_is"]
        if is_loopback and "GLOO_SOCKET_IFNAME" not in facts["environment"]:
            means = facts["name_is"] or "no address"
            what = f"its name {facts['name']} stands for {means}, which gloo gives to the others"
            fix = "mend /etc/hosts, or set GLOO_SOCKET_IFNAME to the interface in the environment of `ray start`"
            problems.append(Problem("network", node, what, fix, is_note=not spans_nodes))
    return problems


def of_paths(unreadable: Mapping[str, list[str]]) -> list[Problem]:
    """Return a problem for each path in `unreadable`, which maps a node's name to the paths that it cannot read."""
    return [
        Problem("data", node, f"{path} is not there, or may not be read", BRING_DATA)
        for node, paths in unreadable.items()
        for path in paths
    ]


def of_gpus(node: str, counted: int, facts: Mapping[str, Any]) -> list[Problem]:
    """Return a problem for missing or faulty GPUs of `node`, and a note for each GPU that another process uses.

    `counted` is the number of GPUs that Ray assigns to workers there; `facts` is the result of `probe.gpus` there.
    """
    if "error" in facts:
        return [Problem("GPUs", node, f"torch cannot use them: {facts['error']}", "look at nvidia-smi there")]
    found = facts["found"]
    if len(found) < counted:  # more GPUs than Ray counts are no fault: --num-gpus may be smaller
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
    """Return a problem for each node of `unreachable`, which maps its name to the addresses it cannot connect to."""
    fix = "open all ports between the nodes: DDP chooses one itself (on AWS: the nodes' security group, to itself)"
    return [
        Problem("network", node, f"no connection to {', '.join(others)}", fix)
        for node, others in unreachable.items()
        if others
    ]
