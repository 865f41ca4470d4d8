"""clusters/onprem.yaml brought up in the lab, from the laptop, as docs/cluster_onprem.md has it."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mdr_tune.records.journal import read_records
from mdr_tune.records.trial_record import TrialRecord
from tests.cluster.lab import Lab, Node
from tests.waiting import wait_for

PROJECT = Path(__file__).parents[2]
FILE = "clusters/onprem.yaml"
SWEEP: dict[str, Any] = {
    "name": "on_two_nodes",
    "trial": {
        "batch": {"size": 16, "images_per_class": 4},
        "embedding": {"size": 8},
        "epochs": 3,
        "iterations_per_epoch": 8,
    },
    "search": {"trials": 2, "scheduler": {"name": "asha", "grace_epochs": 3}},
    "space": {"mdr.weight": {"loguniform": [0.01, 1]}, "loss.margin": {"uniform": [0.1, 0.4]}},
    "resources": {"workers_per_trial": 2, "lanes": 1},
}
WORKER_PLACES = """
import json, ray, logging
from ray.util.state import list_actors
ray.init(log_to_driver=False, logging_level=logging.CRITICAL)
addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
workers = list_actors(filters=[("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")], limit=100)
print("PLACES", json.dumps(sorted(addresses[worker.node_id] for worker in workers)))
"""
ALIVE = """
import json, ray, logging
ray.init(log_to_driver=False, logging_level=logging.CRITICAL)
print("PLACES", json.dumps(sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])))
"""


class LabCluster:
    """The cluster in the lab: the commands of a user on the laptop, and what can be seen on the head."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.project = lab.laptop.home / "project"
        self.addresses = sorted([lab.head.address, lab.worker.address])
        self._copy_project()
        (lab.laptop.home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))

    def _copy_project(self) -> None:
        """Put what the cluster file names into the laptop's folder, and into the file what a user sets."""
        cluster = yaml.safe_load((PROJECT / FILE).read_text())
        for source in cluster["file_mounts"].values():
            if source.startswith("~"):
                continue
            if (PROJECT / source).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(PROJECT / source, self.project / source, ignore=ignore)
            else:
                shutil.copy(PROJECT / source, self.project / source)
        cluster["provider"] |= {"head_ip": self.lab.head.address, "worker_ips": [self.lab.worker.address]}
        cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.lab.key)}
        cluster["file_mounts"]["~/sweep.yaml"] = "~/sweep.yaml"
        for kind in ("head", "worker"):
            commands = cluster[f"{kind}_setup_commands"]
            assert commands[0].startswith("bash ~/mdr_tune/clusters/setup_node.sh")
            commands[0] = f"MDR_TUNE_ENV={sys.prefix} {commands[0]}"
        (self.project / FILE).write_text(yaml.safe_dump(cluster))

    def on_laptop(self, command: str) -> str:
        """Run a command in the project's folder; returns what it prints."""
        return self.lab.laptop.run(_in_project(command)).stdout

    def start_on_laptop(self, command: str, output: Path) -> subprocess.Popen[str]:
        """Start a command in the project's folder."""
        return self.lab.laptop.start_command(_in_project(command), output)

    def up(self) -> None:
        """`ray up`, and wait for the worker, which the head adds."""
        self.on_laptop("ray get-auth-token --generate")
        self.on_laptop(f"ray up {FILE} --yes --no-config-cache")
        self.wait_for_both()

    def wait_for_both(self) -> None:
        """Wait until both nodes are in the cluster."""
        wait_for(lambda: self._ask(ALIVE) == self.addresses, "both nodes alive", every_s=1)

    def worker_places(self) -> list[str]:
        """Return the addresses of the nodes on which workers of lanes live, one for each."""
        return self._ask(WORKER_PLACES)

    def _ask(self, script: str) -> list[str]:
        said = self.lab.head.run(f"python -c {shlex.quote(script)}", check=False).stdout
        found = [line for line in said.splitlines() if line.startswith("PLACES")]
        return list(json.loads(found[0].removeprefix("PLACES"))) if found else []

    def launch(self, name: str, settings: str) -> subprocess.Popen[str]:
        """Start `launch.py` on the head, as after `ray attach`."""
        return self.lab.head.start_command(f"cd ~/mdr_tune && {launch_command(name, settings)}", self.output(name))

    def output(self, name: str) -> Path:
        """Return the file with what a launch prints."""
        return self.lab.folder / f"{name}.txt"


def launch_command(name: str, settings: str) -> str:
    """Return the command line of a launch of the lab's sweep."""
    return f"python launch.py --space ~/sweep.yaml --name {name} {settings}"


def _in_project(command: str) -> str:
    return f"export PATH={sys.prefix}/bin:$PATH; cd ~/project && {command}"


def records(node: Node, folder: str, name: str) -> list[TrialRecord]:
    """Return the trials of the one launch of a sweep; none before it has begun.

    Args:
        node: On which it was launched.
        folder: In which, below its home.
        name: Of the sweep.
    """
    launches = [journal.parent for journal in (node.home / folder).glob(f"runs/sweeps/{name}/*/journal.jsonl")]
    return read_records(launches[0]) if launches else []
