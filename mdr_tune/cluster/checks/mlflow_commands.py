"""The MLflow server that a cluster file installs."""

import argparse
from collections.abc import Iterator
from typing import Any, NoReturn

from mdr_tune.cluster.checks.commands import Command, setup_commands, start_commands
from mdr_tune.cluster.cluster_file import ClusterFile, Problem
from mdr_tune.cluster.machine import LOOPBACK
from mdr_tune.cluster.mlflow_server.arguments import add_arguments
from mdr_tune.cluster.mlflow_server.settings import DEFAULT_PORT

_OURS = ("mdr-tune", "mlflow-server")


def check_mlflow_is_private(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield an MLflow server that others than the head's users could reach, without a password."""
    for command in _on_the_head(cluster):
        if not any(command.runs(*program) for program in (_OURS, ("mlflow", "server"), ("mlflow", "ui"))):
            continue
        host = command.option("--host") or command.option("-h") or command.variables.get("MLFLOW_HOST", "127.0.0.1")
        if host not in LOOPBACK:
            yield Problem(
                command.path, f"MLflow on {host}: expected 127.0.0.1, reached by a tunnel; see docs/mlflow_server.md"
            )


def check_mlflow_command(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield options that `mdr-tune mlflow-server` has not, and a port at which launch.py would not look for it."""
    for command in _on_the_head(cluster):
        if not command.runs(*_OURS):
            continue
        parser = _Parser(prog=" ".join(_OURS))
        add_arguments(parser, {})
        try:
            arguments = parser.parse_args(command.words[len(_OURS) :])
        except ValueError as error:
            yield Problem(command.path, f"mdr-tune mlflow-server: {error}")
            continue
        if getattr(arguments, "port", DEFAULT_PORT) != DEFAULT_PORT:
            yield Problem(
                command.path,
                f"--port {arguments.port}: leave it out; clusters/setup_node.sh has launch.py look at {DEFAULT_PORT}",
            )


def _on_the_head(cluster: ClusterFile) -> list[Command]:
    return [*setup_commands(cluster, "head"), *start_commands(cluster, "head")]


class _Parser(argparse.ArgumentParser):
    """Raises a ValueError where argparse would end the process; so do the parsers of its actions."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "add_help": False})  # --help would end it too

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)
