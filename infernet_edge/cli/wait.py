"""`infernet-edge wait`: wait for jobs, and print their results."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, print_error, seconds, with_node

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient

HELP = "wait until jobs have ended, and print their results"

_USUAL: Final = 3600  # seconds
_TEXT: Final = """\
It prints the output of one job; of several, a line with the id and the output
of each; with --json, a list of JobResults. A node that is restarted meanwhile
is asked again.

Exit codes: 0 all succeeded; 1 one failed, is unknown, or did not end in time;
2 wrong usage; 78 configuration errors; 130 stopped by Ctrl+C: the jobs
continue.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge wait 01a21b75-4298-4000-bdd5-09a403a99a68",
        "infernet-edge wait ID --timeout 60 --url http://raspberrypi.local:4000",
        "infernet-edge wait ID ID --json",
        text=_TEXT,
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id of a job")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=_USUAL,
        metavar="SECONDS",
        help=f"for all jobs together (default: {_USUAL})",
    )
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Wait; returns 0 when all jobs succeeded, else 1."""
    return with_node(arguments, partial(_wait, arguments))


def _wait(arguments: argparse.Namespace, node: NodeClient) -> int:
    from infernet_edge.cli.remote.failures import NodeRefused
    from infernet_edge.cli.remote.output import NodeOutput
    from infernet_edge.cli.remote.results import print_result, wait_for

    output = NodeOutput()
    deadline = time.monotonic() + arguments.timeout
    code, separator = 0, b"["
    identifiers = list(dict.fromkeys(arguments.ids))
    try:
        for number, identifier in enumerate(identifiers):
            try:
                state, document = wait_for(node, identifier, deadline, known=number > 0)
            except NodeRefused as error:
                if error.status != 404:
                    raise
                print_error(f"{error}. It may be older than jobs.retention")
                code = 1
                continue
            if state.status != "success":
                code = 1
            if arguments.json:
                output.write(separator)
                output.write(document)
                separator = b",\n"
            else:
                several = len(identifiers) > 1
                print_result(state, output=output, prefix=f"{identifier}  " if several else "")
    finally:
        if arguments.json:  # one document, whatever happens
            output.write(b"[]\n" if separator == b"[" else b"]\n")
    return code
