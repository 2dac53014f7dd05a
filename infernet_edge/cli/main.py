"""The command line: finds the command and runs it. Each command has a module with its name."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Final

from infernet_edge import __version__
from infernet_edge.cli.output import CommandParser, flush_output

GROUPS = {
    "Start": ("demo", "init", "add-service", "remove-service", "check", "run", "service"),
    "Send jobs": ("submit", "stream", "wait", "cancel"),
    "Operate a node": (
        *("status", "discover", "containers", "logs", "jobs", "events", "doctor"),
        *("token", "reload", "backup", "restore", "export"),
    ),
    "Answer smart contracts": ("wallet",),
    "Find out more": ("help", "completion", "version"),
}
"""The commands, in the order in which a new user needs them."""

COMMANDS = tuple(command for commands in GROUPS.values() for command in commands)

_ON_ITS_MACHINE: Final = {
    "backup": "it copies the files of the node",
    "restore": "it replaces the files of the node",
    "token": "who may make tokens owns the files of the node",
    "check": "it reads the configuration and the files that it names",
    "export": "it reads the configuration",
    "doctor": "it checks the machine, its Podman and the files of the node",
    "service": "it changes systemd's units",
    "wallet": "keys do not leave the machine",
}
"""Why a command has no --url."""

_COLUMNS: Final = 79

OK, FAILURE, USAGE, BAD_CONFIGURATION = 0, 1, 2, 78

_EPILOG = """\
Each command has examples: infernet-edge submit --help. The documentation:
infernet-edge help quick-start.

Exit codes: 0 success, 1 failure, 2 wrong usage, 78 configuration errors.
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        parser = make_parser(arguments)
        if _names_another_node(arguments):
            name = arguments[0]
            parser.error(
                f"{name} has no --url: {_ON_ITS_MACHINE[name]}. Run it on the machine of the node,"
                f" for example with: ssh MACHINE infernet-edge {name}"
            )
        parsed = parser.parse_args(arguments)
        module = importlib.import_module(module_of(parsed.command))
        return int(module.run(parsed))
    except KeyboardInterrupt:
        return 128 + 2  # as shells report SIGINT
    except BrokenPipeError:
        return OK  # the reader has what it needs
    finally:
        flush_output()


def _names_another_node(arguments: Sequence[str]) -> bool:
    """Whether --url is given to a command that only works on the machine of the node."""
    if not arguments or arguments[0] not in _ON_ITS_MACHINE:
        return False
    return any(each == "--url" or each.startswith("--url=") for each in arguments[1:])


def module_of(command: str) -> str:
    """The name of the module with this command."""
    return f"infernet_edge.cli.{command.replace('-', '_')}"


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the first argument's command; of all commands when it is not a command."""
    # A node that runs for months does not keep the imports of other commands in memory.
    chosen = arguments[0] if arguments else ""
    names = (chosen,) if chosen in COMMANDS else COMMANDS
    modules = {name: importlib.import_module(module_of(name)) for name in names}
    listed = "\n".join(_listed(modules)) if names is COMMANDS else ""
    parser = argparse.ArgumentParser(
        prog="infernet-edge",
        usage="infernet-edge [-h] [--version] COMMAND ...",
        description="An Infernet node for edge hardware: runs service containers with Podman\n"
        f"and serves jobs over a REST API.\n\n{listed}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"infernet-edge {__version__}")
    # Listed in groups, by the description above.
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="COMMAND",
        prog="infernet-edge",
        parser_class=CommandParser,
        help=argparse.SUPPRESS,
    )
    for name, module in modules.items():
        module.configure(commands.add_parser(name, help=module.HELP, description=module.HELP))
    return parser


def _listed(modules: Mapping[str, ModuleType]) -> Iterator[str]:
    """The commands in their groups, each with what it does."""
    import textwrap

    width = max(map(len, COMMANDS))
    for title, commands in GROUPS.items():
        yield f"{title}:"
        for command in commands:
            start = f"    {command:<{width}}  "
            yield textwrap.fill(
                modules[command].HELP,
                _COLUMNS,
                initial_indent=start,
                subsequent_indent=" " * len(start),
            )
