"""`infernet-edge doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import argparse
import json

from infernet_edge.cli.configuration import add_config_argument, load_or_explain

HELP = "find out what is wrong, and how to mend it"

_DESCRIPTION = """\
Looks at all that a node needs, and says of each whether it is ok, what it means when it is not,
and the command that mends it. Nothing is changed. Run it as the user that the node runs as; for the
installed service, with sudo.

  configuration  warnings about the configuration
  clock          the date, and whether it follows a time server
  memory         what is available, and what the containers may take
  storage        whether the jobs can be written; a disk that is mounted for reading only
  space          free disk space, and room for more files
  unpacked       folders that a killed executable left in /tmp
  database       whether the file with the jobs is damaged (read while no node runs)
  secrets        whether others can read keys, passwords, tokens or jobs
  podman         whether Podman answers, is new enough and can limit containers
  socket         who may use Podman's socket
  lingering      whether containers outlive the session of an ordinary user
  leftovers      containers and folders that killed nodes left
  images         whether the containers' images are here, or can be pulled
  gpu            whether Podman knows the GPUs, by CDI, and the node may read them
  devices        whether the devices that containers get exist and may be opened
  ports          whether the API's and the containers' ports are free
  rpc            whether a JSON-RPC server answers, and for the right chain
  contracts      whether the Infernet contracts answer
  service        the state of the systemd unit
  node           whether the node runs and is healthy
  containers     whether they are ready
"""

_EPILOG = """\
Exit codes: 0 no problem (there may be warnings), 1 a problem, 78 mistakes in the configuration.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_config_argument(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print an object: name of the check -> level (ok, warning, problem), text, remedy",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; returns 1 when there is a problem."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    import asyncio
    import logging

    from infernet_edge.doctor.case import Case
    from infernet_edge.doctor.examination import examine

    # What the checks' parts log is in the findings; without a handler warnings go to stderr.
    logging.getLogger("infernet_edge").addHandler(logging.NullHandler())
    findings = asyncio.run(examine(Case(loaded.config, loaded.source, loaded.warnings)))
    levels = [found.level for found in findings.values()]
    problems = levels.count("problem")
    if arguments.json:
        print(
            json.dumps(
                {
                    name: {"level": found.level, "text": found.text, "remedy": found.remedy}
                    for name, found in findings.items()
                },
                indent=2,
            )
        )
    else:
        for name, found in findings.items():
            print(f"{found.level:<8} {name:<14} {found.text}")
            if found.remedy:
                print(f"{'':<24}to mend it: {found.remedy}")
        print(f"{_count(problems, 'problem')}, {_count(levels.count('warning'), 'warning')}")
    return 1 if problems else 0


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
