"""The command line: finds the command and runs it. Each command has a module with its name."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from infernet_edge import __version__
from infernet_edge.cli.output import flush_output

COMMANDS = (
    *("run", "demo", "init", "add-service", "remove-service", "check", "doctor", "status", "jobs"),
    *("wallet", "service", "export", "help", "version"),
)

OK, FAILURE, USAGE, BAD_CONFIGURATION = 0, 1, 2, 78

_EPILOG = """\
Start with:
  infernet-edge demo     try the node in a minute, without installation
  infernet-edge init     write a configuration
  infernet-edge run      run the node
  infernet-edge service  install it as a systemd service
  infernet-edge help     read the documentation

Exit codes: 0 success, 1 failure, 2 wrong usage, 78 configuration errors.
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        parsed = make_parser(arguments).parse_args(arguments)
        module = importlib.import_module(module_of(parsed.command))
        return int(module.run(parsed))
    except KeyboardInterrupt:
        return 128 + 2  # as shells report SIGINT
    except BrokenPipeError:
        return OK  # the reader has what it needs
    finally:
        flush_output()


def module_of(command: str) -> str:
    """The name of the module with this command."""
    return f"infernet_edge.cli.{command.replace('-', '_')}"


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the first argument's command; of all commands when it is not a command."""
    parser = argparse.ArgumentParser(
        prog="infernet-edge",
        description="An Infernet node for edge hardware: runs service containers with Podman\n"
        "and serves jobs over a REST API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"infernet-edge {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # A node that runs for months does not keep the imports of other commands in memory.
    chosen = arguments[0] if arguments else ""
    for name in (chosen,) if chosen in COMMANDS else COMMANDS:
        module = importlib.import_module(module_of(name))
        module.configure(commands.add_parser(name, help=module.HELP, description=module.HELP))
    return parser
