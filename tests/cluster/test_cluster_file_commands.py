"""Shell commands of a cluster file, taken apart."""

from pathlib import Path
from typing import Any

from mdr_tune.cluster.checks.commands import Command, is_ray_start, setup_commands, start_commands
from mdr_tune.cluster.cluster_file import ClusterFile


def cluster(**tree: Any) -> ClusterFile:
    return ClusterFile(Path("a.yaml"), tree, {}, tree)


def parsed(line: str) -> list[Command]:
    return start_commands(cluster(head_start_ray_commands=[line]), "head")


def test_a_line_is_its_simple_commands_with_their_variables() -> None:
    stop, start = parsed("ray stop || true; export A=1; RAY_AUTH_MODE=token B='x y' ray start --head")[::2]
    assert stop.words == ["ray", "stop"]
    assert start.words == ["ray", "start", "--head"]
    assert start.variables == {"A": "1", "RAY_AUTH_MODE": "token", "B": "x y"}
    assert start.path == ("head_start_ray_commands", "0")


def test_a_variable_of_one_command_is_not_the_next_ones() -> None:
    first, second = parsed("RAY_AUTH_MODE=token ray stop && ray start --head")
    assert first.variables == {"RAY_AUTH_MODE": "token"}
    assert second.variables == {}


def test_the_last_of_an_option_holds_in_both_forms() -> None:
    (command,) = parsed("ray start --host=a --host b --flag")
    assert command.option("--host") == "b"
    assert command.option("--flag") is None
    assert command.option("--ho") is None


def test_ray_start_is_known_by_path_and_by_our_script() -> None:
    assert is_ray_start(parsed("~/env/bin/ray start --head")[0])
    assert is_ray_start(parsed("bash ~/mdr_tune/clusters/start_worker.sh --address=x")[0])
    assert not is_ray_start(parsed("echo ray start")[0])


def test_an_open_quote_does_not_hide_a_command() -> None:
    assert parsed("ray start --head 'oops")[0].runs("ray", "start")


def test_setup_of_a_worker_has_the_commands_of_its_type() -> None:
    tree = {
        "initialization_commands": ["a"],
        "setup_commands": ["b"],
        "head_setup_commands": ["c"],
        "worker_setup_commands": ["d"],
        "available_node_types": {"gpu": {"worker_setup_commands": ["e"]}},
    }
    assert [command.words for command in setup_commands(cluster(**tree), "worker")] == [["a"], ["b"], ["d"], ["e"]]
    assert [command.words for command in setup_commands(cluster(**tree), "head")] == [["a"], ["b"], ["c"]]
