"""What the facts of nodes mean."""

from typing import Any

import pytest

from mdr_tune.sweep.preflight import judge
from mdr_tune.sweep.preflight.problems import Problem, as_lines

HERE = {"Python": "3.11.7", "mdr_tune": "0.1.0", "torch": "2.14.1", "sources of mdr_tune": "abc"}


def said(versions: dict[str, str] | None = None, **facts: Any) -> dict[str, Any]:
    return {
        "versions": HERE | (versions or {}),
        "environment": {},
        "name": "node2",
        "name_is": "10.0.0.2",
        **facts,
    }


def gpu(**changes: Any) -> dict[str, Any]:
    return {"name": "A10G", "free": 22 * 2**30, "total": 23 * 2**30, "equal": True, **changes}


def texts(problems: list[Problem]) -> list[str]:
    return [problem.what for problem in problems]


def test_equal_versions_are_no_problem() -> None:
    assert judge.of_versions(HERE, {"10.0.0.2": said()}) == []


@pytest.mark.parametrize(
    ("versions", "what"),
    [
        ({"torch": "2.13.0"}, "torch is 2.13.0, here 2.14.1"),
        ({"Python": "3.12.1", "torch": "none"}, "Python is 3.12.1, here 3.11.7, torch is none, here 2.14.1"),
        ({"sources of mdr_tune": "abd"}, "sources of mdr_tune is abd, here abc"),
        ({"mdr_tune": "none"}, "mdr_tune cannot be imported by the Python that Ray runs there"),
        ({"sources of mdr_tune": "none"}, "mdr_tune cannot be imported by the Python that Ray runs there"),
    ],
)
def test_other_versions(versions: dict[str, str], what: str) -> None:
    (problem,) = judge.of_versions(HERE, {"10.0.0.1": said(), "10.0.0.2": said(versions)})
    assert (problem.node, problem.what, problem.is_note) == ("10.0.0.2", what, False)
    assert "ray up" in problem.remedy


def test_a_clock_that_is_off_is_noted() -> None:
    problems = judge.of_clocks(1000.0, {"a": 1030.0, "b": 1105.0, "c": 800.0, "d": 1064.0}, 1005.0)
    assert [(problem.node, problem.what) for problem in problems] == [
        ("b", "the clock is +100 s off"),
        ("c", "the clock is -200 s off"),
    ]
    assert all(problem.is_note for problem in problems)


def test_a_node_that_answers_late_is_no_clock_that_is_off() -> None:
    assert judge.of_clocks(1000.0, {"quick": 1000.5, "slow": 1200.0}, 1201.0) == []


@pytest.mark.parametrize(
    ("environment", "what", "is_note"),
    [
        ({}, None, False),
        ({"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}, "TORCH_NCCL_ASYNC_ERROR_HANDLING=0 lets a worker wait", False),
        ({"TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}, None, False),
        ({"TORCH_NCCL_ASYNC_ERROR_HANDLING": "3", "NCCL_ASYNC_ERROR_HANDLING": "0"}, None, False),
        ({"NCCL_ASYNC_ERROR_HANDLING": "0"}, None, False),  # Ray Train sets the name that torch believes
        (
            {"NCCL_ASYNC_ERROR_HANDLING": "0", "TORCH_NCCL_BLOCKING_WAIT": "0"},  # and now it does not
            "NCCL_ASYNC_ERROR_HANDLING=0 lets a worker wait for ever for one that died",
            False,
        ),
        ({"TORCH_NCCL_BLOCKING_WAIT": "0"}, None, False),
        ({"TORCH_NCCL_BLOCKING_WAIT": "1"}, "TORCH_NCCL_BLOCKING_WAIT=1 makes every step wait", True),
        ({"NCCL_BLOCKING_WAIT": "true"}, "NCCL_BLOCKING_WAIT=true makes every step wait", True),
        ({"NCCL_BLOCKING_WAIT": "1", "TORCH_NCCL_BLOCKING_WAIT": "0"}, None, False),
    ],
)
def test_time_outs_that_are_switched_off(environment: dict[str, str], what: str | None, is_note: bool) -> None:
    problems = judge.of_collectives({"10.0.0.2": said(environment=environment)})
    assert len(problems) == (what is not None)
    assert what is None or (what in problems[0].what and problems[0].is_note == is_note)


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({}, None),
        ({"name_is": "127.0.1.1"}, "its name node2 stands for 127.0.1.1, which gloo gives to the others"),
        ({"name_is": ""}, "its name node2 stands for no address"),
        ({"name_is": "127.0.1.1", "environment": {"GLOO_SOCKET_IFNAME": "eth0"}}, None),
    ],
)
@pytest.mark.parametrize("spans_nodes", [True, False])
def test_a_name_that_the_others_cannot_use(facts: dict[str, Any], what: str | None, spans_nodes: bool) -> None:
    problems = judge.of_names({"10.0.0.2": said(**facts)}, spans_nodes)
    assert len(problems) == (what is not None)
    assert what is None or (what in problems[0].what and problems[0].is_note != spans_nodes)


def test_files_that_a_node_has_not() -> None:
    problems = judge.of_paths({"a": [], "b": ["/data/cub", "/weights.pt"]})
    assert [(problem.node, problem.what) for problem in problems] == [
        ("b", "/data/cub is not there, or may not be read"),
        ("b", "/weights.pt is not there, or may not be read"),
    ]


@pytest.mark.parametrize(
    ("counted", "facts", "what", "is_note"),
    [
        (2, {"found": [gpu(), gpu()]}, [], False),
        (2, {"found": []}, ["Ray counts 2, torch sees 0"], False),
        (1, {"found": [gpu(), gpu()]}, [], False),
        (1, {"error": "no answer within 120 s"}, ["torch cannot use them: no answer within 120 s"], False),
        (2, {"found": [gpu(), gpu(equal=False)]}, ["GPU 1 (A10G) computes a wrong product"], False),
        (1, {"found": [gpu(free=5 * 2**30)]}, ["GPU 0 (A10G) has 5 of 23 GiB free"], True),
    ],
)
def test_gpus(counted: int, facts: dict[str, Any], what: list[str], is_note: bool) -> None:
    problems = judge.of_gpus("10.0.0.2", counted, facts)
    assert texts(problems) == what
    assert all(problem.is_note == is_note for problem in problems)


def test_connections() -> None:
    (problem,) = judge.of_network({"a": [], "b": ["10.0.0.1", "10.0.0.3"]})
    assert (problem.node, problem.what) == ("b", "no connection to 10.0.0.1, 10.0.0.3")


def test_what_several_nodes_have_is_one_line() -> None:
    problems = [
        Problem("versions", "a", "torch is 1", "mend it"),
        Problem("GPUs", "a", "none", "look"),
        Problem("versions", "b", "torch is 1", "mend it"),
        Problem("versions", "b", "torch is 1", "mend it"),
    ]
    assert as_lines(problems) == ["versions: on a, b: torch is 1; mend it", "GPUs: on a: none; look"]
