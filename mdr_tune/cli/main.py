"""`mdr-tune COMMAND`: what is not a sweep. Each command is a file beside this one."""

import argparse
import traceback

from mdr_tune.cli import import_official
from mdr_tune.cli.terminal import make_console, print_error, quiet_libraries
from mdr_tune.errors import UserError


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of mdr-tune, with all commands."""
    parser = argparse.ArgumentParser(prog="mdr-tune", description="Tools around sweeps; a sweep itself is launch.py's.")
    import_official.add_parser(parser.add_subparsers(metavar="COMMAND", required=True))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns 0 when done, 2 for a mistake of the user's, 1 for anything else."""
    arguments = make_parser().parse_args(argv)
    console, errors = make_console(), make_console(stderr=True)
    quiet_libraries()
    try:
        arguments.run(arguments, console)
    except UserError as error:
        print_error(errors, str(error))
        return 2
    except KeyboardInterrupt:
        errors.print("interrupted", style="red")
        return 1
    except Exception:
        errors.print(traceback.format_exc(), markup=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
