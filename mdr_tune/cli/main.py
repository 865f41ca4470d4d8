"""`mdr-tune COMMAND`: run a command. Each command is a file in this folder."""

import argparse

from mdr_tune.cli import (
    check,
    cluster,
    data,
    embed,
    evaluate,
    import_official,
    importance,
    launch,
    leaderboard,
    mlflow_server,
    report,
    rerun,
    search,
    spaces,
)
from mdr_tune.cli.streams import with_forgiving_output
from mdr_tune.cli.terminal import exit_code, make_console, quiet_libraries


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of mdr-tune, with all commands."""
    parser = argparse.ArgumentParser(prog="mdr-tune", description="Run sweeps, and look at their results.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (
        launch,
        spaces,
        leaderboard,
        importance,
        report,
        rerun,
        embed,
        search,
        evaluate,
        check,
        data,
        import_official,
        cluster,
        mlflow_server,
    ):
        command.add_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command with the arguments `argv`, and return 0 after success, 2 after a mistake of the user, else 1."""
    return with_forgiving_output(lambda: _run(argv))


def _run(argv: list[str] | None) -> int:
    arguments = make_parser().parse_args(argv)
    quiet_libraries()
    return exit_code(lambda: int(arguments.run(arguments, make_console())))


if __name__ == "__main__":
    raise SystemExit(main())
