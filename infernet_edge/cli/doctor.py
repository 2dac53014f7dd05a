"""`infernet-edge doctor`: check everything that a node needs, and show how to fix problems."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from infernet_edge.cli.configuration import add_config_argument
from infernet_edge.cli.examples import add_examples

if TYPE_CHECKING:
    from infernet_edge.doctor.finding import Finding

HELP = "find problems, and show how to fix them"

_DESCRIPTION = """\
Checks all that a node needs, and prints for each check whether it is ok, and if not, what it means
and how to fix it. A command that fixes it is on a separate line, to be copied. Nothing is changed.
Run it as the user that the node runs as; for the installed service, with sudo. What is not checked
is "unknown", with the reason.

  configuration  errors and warnings; other parts are still checked
  clock          the date, and whether it follows a time server
  memory         what is available, and the limits of the containers
  storage        whether the jobs can be written, or the disk is read-only
  space          free disk space, and room for more files
  unpacked       folders that a killed executable left in /tmp
  database       whether the jobs' file is damaged (while no node runs)
  backup         whether scheduled backups can be written, and the last one
  secrets        whether only the node can read keys, passwords, tokens, jobs
  tokens         whether the tokens that were made can be used
  podman         whether Podman answers, is new enough, and limits containers
  socket         who may use Podman's socket
  lingering      whether containers keep running after the user logs out
  leftovers      containers and folders that killed nodes left
  images         whether the containers' images exist, or can be pulled
  volumes        whether the folders of the containers exist and can be used
  gpu            whether Podman finds the GPUs, and the node may read them
  devices        whether the devices of the containers exist, and open
  ports          whether the API's and the containers' ports are free
  discovery      whether other machines can find the node, by mDNS
  rpc            whether the JSON-RPC servers answer, and have new blocks
  contracts      whether the Infernet contracts are where configured
  wallet         whether the account can pay, may deliver, and can be paid
  service        the systemd units: their state, and whether they are current
  node           whether the node runs and is healthy
  containers     whether they are ready
"""

_EPILOG = """\
Exit codes: 0 no problem (there may be warnings), 1 a problem, 78 configuration errors.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = _DESCRIPTION
    add_examples(
        parser,
        "infernet-edge doctor",
        "sudo infernet-edge doctor",
        "infernet-edge doctor --config config.toml --json",
        text=_EPILOG,
    )
    add_config_argument(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print an object: name of the check -> level (ok, unknown, warning, problem), text,"
        " remedy, command, and the same of each of its findings",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; returns 78 for configuration errors, 1 for other problems."""
    import asyncio
    import logging

    from infernet_edge.config.installed import service_environment
    from infernet_edge.config.loading import load_valid_parts
    from infernet_edge.config.sources import find_file
    from infernet_edge.doctor.context import Case
    from infernet_edge.doctor.runner import examine

    os.environ.update(service_environment(find_file(arguments.config, os.environ), os.environ))
    loaded, errors = load_valid_parts(arguments.config)
    # What the checks log is in the findings; without a handler warnings go to stderr.
    logging.getLogger("infernet_edge").addHandler(logging.NullHandler())
    case = Case(loaded.config, loaded.source, loaded.warnings, problems=errors)
    findings = asyncio.run(examine(case))
    if arguments.json:
        print(json.dumps({name: _as_json(found) for name, found in findings.items()}, indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for name, found in findings.items():
            for each in found:
                print("\n".join(_lines(name, each, width)))
        print(_summary(findings.values()))
    if errors:
        return 78
    return int(any(each.level == "problem" for found in findings.values() for each in found))


def _as_json(found: Sequence[Finding]) -> dict[str, object]:
    from infernet_edge.doctor.finding import together

    return {**_keys(together(found)), "findings": list(map(_keys, found))}


def _keys(found: Finding) -> dict[str, str]:
    """`remedy` is the command when there is no other text."""
    return {
        "level": found.level,
        "text": found.text,
        "remedy": found.remedy or found.command,
        "command": found.command,
    }


def _lines(name: str, found: Finding, width: int | None) -> Iterator[str]:
    """A finding, wrapped where `width` is that of a terminal; a command is never wrapped."""
    yield from _wrapped(f"{found.level:<8} {name:<14} ", found.text, width)
    aim = "to check it" if found.level == "unknown" else "to fix it"
    if found.remedy:
        yield from _wrapped(" " * _INDENT, f"{aim}: {found.remedy}", width)
    if found.command:
        if not found.remedy:
            yield f"{'':<{_INDENT}}{aim}:"
        yield f"    {found.command}"


def _wrapped(start: str, text: str, width: int | None) -> list[str]:
    if width is None:
        return [start + text]
    return textwrap.wrap(
        text,
        max(width, _INDENT + _MIN_WIDTH),
        initial_indent=start,
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


_INDENT = 24
_MIN_WIDTH = 20


def _summary(findings: Iterable[Sequence[Finding]]) -> str:
    levels = [each.level for found in findings for each in found]
    counts = [
        _count(levels.count("problem"), "problem"),
        _count(levels.count("warning"), "warning"),
    ]
    if unknown := levels.count("unknown"):
        counts.append(f"{unknown} not checked")
    return ", ".join(counts)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
