"""A real `ray up clusters/onprem.yaml`: two machines join, run sweeps, one of them is lost, and all of it ends.

The tests share one cluster and stand in the order in which a user would do it; the last takes it down.
"""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.lab import Node, running_lab, why_not
from tests.cluster.lab_cluster import FILE, LabCluster, launch_command, records
from tests.faults.sweeps import same_each_run
from tests.waiting import HANG_S, wait_for

WHY_NOT = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

SPREAD = "--set resources.placement=spread"
HEALTH = "python -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:5000/health', timeout=60).read())\""
JOIN = "python -c \"import ray; ray.init(address='10.99.0.1:6379'); print('joined')\""
CPUS = len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with running_lab() as lab:
        cluster = LabCluster(lab)
        cluster.up()
        yield cluster


def listens_for_others(node: Node) -> set[int]:
    """Return the TCP ports at which a node answers other machines."""
    lines = node.run("ss -Hltn").stdout.splitlines()
    places = [line.split()[3].rpartition(":") for line in lines if line.strip()]
    return {int(port) for host, _, port in places if "127.0.0.1" not in host}


def test_mlflow_and_the_dashboard_answer_on_the_head_itself_alone(cluster: LabCluster) -> None:
    head = cluster.lab.head
    assert "OK" in head.run(HEALTH).stdout
    head.run("nc -z 127.0.0.1 8265")
    assert {22, 6379} <= listens_for_others(head)
    assert not {5000, 8265} & listens_for_others(head)
    for port in (5000, 8265):
        assert cluster.lab.worker.run(f"nc -z -w 2 {head.address} {port}", check=False).returncode != 0


def test_nobody_joins_without_the_token(cluster: LabCluster) -> None:
    worker = cluster.lab.worker
    assert "joined" in worker.run(JOIN).stdout
    other = "RAY_AUTH_TOKEN=" + "0" * 64
    for change in ("RAY_AUTH_MODE=disabled", "RAY_AUTH_TOKEN_PATH=/nonexistent", other):
        done = worker.run(f"{change} timeout 25 {JOIN}", check=False)
        assert done.returncode != 0
        assert "joined" not in done.stdout


def test_the_workers_of_a_trial_on_two_nodes_compute_what_they_compute_on_one(cluster: LabCluster) -> None:
    launch = cluster.launch("on_two_nodes", SPREAD)
    wait_for(lambda: cluster.worker_places() == cluster.addresses, "a worker on each node", every_s=3)
    assert launch.wait(HANG_S) == 0, cluster.output("on_two_nodes").read_text()

    cluster.on_laptop(launch_command("on_two_nodes", ""))
    there, here = (
        records(cluster.lab.head, "mdr_tune", "on_two_nodes"),
        records(cluster.lab.laptop, "project", "on_two_nodes"),
    )
    assert len(there) == len(here) == 2
    for one, other in zip(there, here, strict=True):
        assert one.parameters == other.parameters
        assert [same_each_run(epoch) for epoch in one.history] == [same_each_run(epoch) for epoch in other.history]


def test_a_sweep_goes_on_without_a_node_that_dies_and_the_node_comes_back_by_itself(cluster: LabCluster) -> None:
    lab = cluster.lab
    settings = f"--set resources.workers_per_trial=1 --set resources.lanes=2 --set resources.cpus_per_worker={CPUS}"
    launch = cluster.launch("node_lost", f"{settings} --set trial.epochs=6 --trials 6")
    wait_for(lambda: cluster.worker_places() == cluster.addresses, "a worker on each node", every_s=3)

    def epochs() -> int:
        return sum(trial.epochs for trial in records(lab.head, "mdr_tune", "node_lost"))

    wait_for(lambda: epochs() >= 3, "a few epochs", every_s=0.2)
    lab.worker.kill()
    assert launch.wait(HANG_S) == 0, cluster.output("node_lost").read_text()
    trials = records(lab.head, "mdr_tune", "node_lost")
    assert len(trials) == 6
    assert {trial.outcome for trial in trials} <= {"completed", "stopped_early"}
    for trial in trials:
        assert [epoch["epoch"] for epoch in trial.history] == list(range(1, trial.epochs + 1))
    lab.start_node(lab.worker)
    cluster.wait_for_both()


def test_mlflow_comes_back_by_itself(cluster: LabCluster) -> None:
    head = cluster.lab.head
    head.run("pkill -KILL -f '[m]lflow server'")
    assert head.run(HEALTH, check=False).returncode != 0
    wait_for(lambda: head.run(HEALTH, check=False).returncode == 0, "MLflow answers again", every_s=1)


def test_a_submitted_sweep_survives_the_laptop(cluster: LabCluster) -> None:
    lab = cluster.lab
    cluster.start_on_laptop(f"ray dashboard {FILE}", lab.folder / "tunnel.txt")
    wait_for(lambda: lab.laptop.run("nc -z 127.0.0.1 8265", check=False).returncode == 0, "the tunnel", every_s=1)
    work = f"cd ~/mdr_tune && exec {launch_command('submitted', '--trials 2')}"
    submit = f"ray job submit --address http://127.0.0.1:8265 --submission-id submitted -- bash -c '{work}'"
    client = cluster.start_on_laptop(f"RAY_AUTH_MODE=token {submit}", lab.folder / "submit.txt")
    wait_for(lambda: records(lab.head, "mdr_tune", "submitted") != [], "it searches", every_s=1)
    lab.laptop.kill()
    client.wait(HANG_S)
    wait_for(lambda: "succeeded" in lab.head.run("ray job status submitted").stdout, "it is done", every_s=3)
    assert {trial.outcome for trial in records(lab.head, "mdr_tune", "submitted")} == {"completed"}
    lab.start_node(lab.laptop)


def test_ray_down_and_the_end_of_mlflow_leave_nothing_running(cluster: LabCluster) -> None:
    cluster.lab.head.run("mdr-tune mlflow-server uninstall")
    cluster.on_laptop(f"ray down {FILE} --yes")
    wait_for(lambda: cluster.lab.head.processes() == [], "nothing runs on the head", every_s=1)
    wait_for(lambda: cluster.lab.worker.processes() == [], "nothing runs on the worker", every_s=1)
