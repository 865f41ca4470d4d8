"""Shell commands of a cluster file, taken apart."""

from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cluster.checks.commands import Command, is_ray_start, setup_commands, setups, start_commands
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


@pytest.mark.parametrize(
    "line",
    [
        "nohup ray start --head &",
        "sudo -E -u me ray start --head",
        "timeout -k 5 60 ray start --head",
        "env RAY_AUTH_MODE=token ray start --head",
        "if true; then ray start --head; fi",
        "bash -lc 'ray stop; ray start --head'",
        "(ulimit -n 10; ray start --head || exit 1)",
        "python3.11 -m ray start --head",
    ],
)
def test_a_program_is_found_behind_what_runs_it(line: str) -> None:
    assert sum(is_ray_start(command) and "--head" in command.words for command in parsed(line)) == 1


def test_variables_reach_what_a_shell_or_env_runs() -> None:
    (by_shell,) = parsed("A=1 bash -c 'B=2 ray start'")
    (by_env,) = parsed("export A=1; env B=2 ray start")[-1:]
    assert by_shell.variables == by_env.variables == {"A": "1", "B": "2"}


def test_commands_of_a_type_take_the_place_of_the_shared_ones() -> None:
    tree = {
        "initialization_commands": ["a"],
        "setup_commands": ["b"],
        "head_setup_commands": ["c"],
        "worker_setup_commands": ["d"],
        "head_node_type": "head",
        "available_node_types": {
            "head": {},
            "plain": {},
            "gpu": {"worker_setup_commands": ["e"]},
            "other": {"initialization_commands": ["f"]},
        },
    }
    own = ("available_node_types", "gpu", "worker_setup_commands")
    found = {(path, *(command.words[0] for command in some)) for path, some in setups(cluster(**tree), "worker")}
    shared = ("worker_setup_commands",)
    assert found == {(shared, "a", "b", "d"), (own, "a", "e"), (shared, "f", "b", "d")}
    assert [command.words[0] for command in setup_commands(cluster(**tree), "worker")] == ["a", "b", "d", "e", "f"]
    assert [command.words for command in setup_commands(cluster(**tree), "head")] == [["a"], ["b"], ["c"]]
