"""What an autoscaler may add, from its file and the nodes that are there. With the real one: test_nodes_ray.py."""

from typing import Any

import pytest

from mdr_tune.cluster.autoscaler import Autoscaler, _is_same, autoscaler_here, node_of
from mdr_tune.cluster.machine import ComingNodes, Node

FILE: dict[str, Any] = {
    "max_workers": 5,
    "head_node_type": "head",
    "provider": {"type": "aws"},
    "available_node_types": {
        "head": {"resources": {"CPU": 8}},
        "a10": {"resources": {"CPU": 48, "GPU": 4, "accelerator_type:A10G": 1}, "max_workers": 4},
        "t4": {"resources": {"CPU": 16, "GPU": 1}},
    },
}
HEAD = {"Resources": {"CPU": 8.0, "node:__internal_head__": 1.0}, "Labels": {}}
A10 = {"Resources": {"CPU": 48.0, "GPU": 4.0, "accelerator_type:A10G": 1.0}, "Labels": {}}


def autoscaler(**changes: Any) -> Autoscaler:
    return Autoscaler({**FILE, **changes}, "10.0.0.1:6379", is_v2=True)


def numbers(coming: tuple[ComingNodes, ...]) -> dict[str, int]:
    return {kind.name: kind.count for kind in coming}


@pytest.mark.parametrize(
    ("nodes", "coming"),
    [
        ([HEAD], {"a10": 4, "t4": 5}),
        ([HEAD, A10], {"a10": 3, "t4": 4}),
        ([HEAD, A10, A10, A10, A10], {"t4": 1}),
        ([HEAD, *[A10] * 5], {}),
        ([HEAD, {"Resources": {"CPU": 48.0}, "Labels": {"ray.io/node-group": "a10"}}], {"a10": 3, "t4": 4}),
        ([HEAD, {"Resources": {"CPU": 2.0}, "Labels": {}}], {"a10": 4, "t4": 5}),  # one that joined by hand
    ],
)
def test_what_may_come_beside_what_is_there(nodes: list[dict[str, Any]], coming: dict[str, int]) -> None:
    assert numbers(autoscaler().coming(nodes)) == coming


def test_what_one_of_the_coming_nodes_has() -> None:
    a10, t4 = autoscaler().coming([HEAD])
    assert a10.node == Node(48, 4, "A10G")
    assert str(a10) == "4 a10 (48 CPUs, 4 GPUs each)"
    assert t4.node == Node(16, 1, None)


def test_machines_of_ones_own_do_not_come_but_join() -> None:
    provider = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2", "gpu3"]}
    own = autoscaler(provider=provider)
    assert own.owned_addresses == ["10.0.0.1", "10.0.0.2", "gpu3"]
    assert own.coming([HEAD]) == ()


@pytest.mark.parametrize(
    ("address", "joined", "same"),
    [
        ("10.0.0.1:6379", "10.0.0.1:6379", True),
        ("10.0.0.1:6379", "127.0.0.1:6379", True),
        ("10.0.0.1:6379", "127.0.0.1:6380", False),
        ("10.0.0.1:6379", "10.0.0.2:6379", False),
        (None, "10.0.0.1:6379", False),
    ],
)
def test_which_cluster_an_autoscaler_is_of(address: str | None, joined: str, same: bool) -> None:
    assert _is_same(address, joined) == same


def test_where_no_autoscaler_runs_none_is_found() -> None:
    assert autoscaler_here("192.0.2.77:1") is None


def test_the_resources_of_a_node() -> None:
    assert node_of({"CPU": 4.0, "memory": 1e9}, "10.0.0.5") == Node(4, 0, None, "10.0.0.5")
    assert node_of({"GPU": 2.0, "accelerator_type:T4": 1.0}) == Node(0, 2, "T4")


def test_places_for_workers() -> None:
    node = Node(48, 4, "A10G")
    assert node.worker_places(1, 1) == 4
    assert node.worker_places(16, 1) == 3
    assert node.worker_places(16, 0) == 3
    assert node.worker_places(1, 1, "T4") == 0
    assert node.worker_places(1, 0.5, "A10G") == 8
