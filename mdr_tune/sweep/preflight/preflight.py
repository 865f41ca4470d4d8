"""Run all checks of a launch before its first worker starts."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from mdr_tune.cluster.autoscaler import node_of
from mdr_tune.cluster.machine import Node
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.lanes.ray_seams import HEAD_RESOURCE
from mdr_tune.sweep import prepare
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.preflight import judge, probe
from mdr_tune.sweep.preflight.artifact_store import check_artifacts
from mdr_tune.sweep.preflight.data_on_nodes import check_data
from mdr_tune.sweep.preflight.nodes import Nodes, names_of, probes_on
from mdr_tune.sweep.preflight.problems import Problem, as_lines
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count

Tell = Callable[[str], None]


def run_preflight(plan: Plan, tell: Tell) -> None:
    """Check that the sweep of `plan` can run on all nodes of the cluster that this process is connected to.

    On a single machine only the GPUs are checked, and only if the sweep uses them. `tell` is called with each line for
    the user: the progress, and notes.

    Raises:
        UserError: The sweep cannot run; the message has a line for each problem, with its nodes and its remedy.
    """
    if plan.address is None:
        if plan.lanes.gpus_per_worker:
            _settle(judge.of_gpus("this machine", plan.machine.gpus, probe.gpus()), tell)
        return
    started = time.monotonic()
    nodes = _useful_nodes(plan.lanes)
    tell(f"preflight: looking at {count(len(nodes), 'node')}")
    with probes_on(nodes, needs_gpus=plan.lanes.gpus_per_worker > 0) as asked:
        problems = [*_of_nodes(plan.lanes, asked, nodes), *_of_clocks(asked), *_of_paths(plan.sweep, asked)]
        problems += [*_of_storage(plan.stores.storage, asked, nodes), *_of_network(asked, nodes)]
        problems += check_artifacts(plan.stores, plan.sweep.name)
        _settle([*asked.problems, *problems], tell)
    _settle(check_data(plan.sweep, names_of(nodes), tell, plan.code), tell)
    tell(f"preflight: {count(len(nodes), 'node')} in order ({time.monotonic() - started:.0f} s)")


def _useful_nodes(lanes: LaneResources) -> dict[str, Node]:
    """Return the head node and all other nodes that have room for a worker of `lanes`, by their id in Ray."""
    found = {}
    for entry in ray.nodes():
        node = node_of(entry["Resources"], entry["NodeManagerAddress"])
        has_room = node.worker_places(lanes.cpus_per_worker, lanes.gpus_per_worker, lanes.accelerator_type) > 0
        if entry["Alive"] and (has_room or HEAD_RESOURCE in entry["Resources"]):
            found[str(entry["NodeID"])] = node
    return found


def _of_nodes(lanes: LaneResources, asked: Nodes, nodes: dict[str, Node]) -> list[Problem]:
    """Return problems with the versions, the GPUs, and the settings of NCCL or gloo on each node."""
    uses_gpus = lanes.gpus_per_worker > 0
    facts = asked.ask(lambda _, actor: actor.facts.remote(uses_gpus), probe.GPU_TIMEOUT_S + 60)
    problems = judge.of_versions(probe.versions(), facts)
    if uses_gpus:
        problems += judge.of_collectives(facts)
        counted = {name: nodes[node_id].gpus for node_id, name in names_of(nodes).items()}
        for name, said in facts.items():
            problems += judge.of_gpus(name, counted[name], said["gpus"])
    elif lanes.workers_per_lane > 1 and len(nodes) > 1:
        problems += judge.of_names(facts, _spans_nodes(lanes, nodes))
    return problems


def _spans_nodes(lanes: LaneResources, nodes: dict[str, Node]) -> bool:
    """Return whether the workers of a trial are certainly on several nodes, by the placement or for lack of room."""
    places = [
        node.worker_places(lanes.cpus_per_worker, lanes.gpus_per_worker, lanes.accelerator_type)
        for node in nodes.values()
    ]
    return lanes.placement == "spread" or max(places, default=0) < lanes.workers_per_lane


def _of_clocks(asked: Nodes) -> list[Problem]:
    before = time.time()
    said = asked.ask(lambda _, actor: actor.clock.remote())  # the processes are up by now and answer at once
    return judge.of_clocks(before, said, time.time())


def _of_paths(sweep: SweepConfig, asked: Nodes) -> list[Problem]:
    paths = [str(path) for path in prepare.paths_of(sweep)]
    return judge.of_paths(asked.ask(lambda _, actor: actor.unreadable.remote(paths))) if paths else []


def _of_storage(storage: Path, asked: Nodes, nodes: dict[str, Node]) -> list[Problem]:
    """Return a problem or notes for nodes that do not see the folder `storage`.

    The driver writes a file into the folder, and each node tries to read it. Trials write their checkpoints on the head
    node, and the driver's node reads them, so it is a problem if the head node does not see the storage. For any other
    node a note is enough: the states that its workers train are sent to the head node, and the head node sends them the
    states to start from.
    """
    folder = next(path for path in (storage, *storage.parents) if path.exists())
    file, content = folder / f".preflight-{uuid.uuid4().hex}", uuid.uuid4().hex
    file.write_text(content)
    try:
        seen = asked.ask(lambda _, actor: actor.content.remote(str(file)))
    finally:
        file.unlink(missing_ok=True)
    blind = [node for node, found in seen.items() if found != content]
    head = names_of(nodes)[_head_id()]
    if head in blind:
        what = f"{storage} is another folder than here, where the sweep runs"
        fix = "run launch.py on the head node, or give a --storage that both mount (NFS, EFS)"
        return [Problem("storage", head, what, fix)]
    what = f"{storage} is not seen: checkpoints and state are on {head} alone"
    fix = "a --resume has to run there; a --storage that all nodes mount (NFS, EFS) outlives that machine"
    return [Problem("storage", node, what, fix, is_note=True) for node in blind]


def _head_id() -> str:
    heads = [entry for entry in ray.nodes() if entry["Alive"] and HEAD_RESOURCE in entry["Resources"]]
    return str(heads[0]["NodeID"])


def _of_network(asked: Nodes, nodes: dict[str, Node]) -> list[Problem]:
    if len(asked.names) < 2:
        return []
    addresses = {name: nodes[node_id].address for node_id, name in names_of(nodes).items()}
    ports = asked.ask(lambda name, actor: actor.listen.remote(addresses[name]))

    def question(me: str, actor: Any) -> Any:
        return actor.unreachable.remote([(addresses[name], port) for name, port in ports.items() if name != me])

    return judge.of_network(asked.ask(question, len(ports) * probe.CONNECT_TIMEOUT_S + 60))


def _settle(problems: list[Problem], tell: Tell) -> None:
    """Show the notes among `problems` to the user, then raise UserError if there are problems that are not notes."""
    for line in as_lines(problem for problem in problems if problem.is_note):
        tell(f"preflight: note: {line}")
    if lines := as_lines(problem for problem in problems if not problem.is_note):
        more = "--no-preflight starts the sweep all the same"
        raise UserError("\n".join([*(f"preflight: {line}" for line in lines), f"preflight: {more}"]))
