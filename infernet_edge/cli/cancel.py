"""`infernet-edge cancel`: cancel jobs."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Final

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, print_error, with_node
from infernet_edge.cli.text import visible

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient
    from infernet_edge.cli.remote.results import JobState

HELP = "cancel jobs that wait or run"

_SAVING_SECONDS: Final = 15.0  # that the node may take to store the end of the jobs
_TEXT: Final = """\
A job that waits ends at once; of one that runs, the call of its container is
closed. Jobs that have ended do not change.

Exit codes: 0 all have ended; 1 one is unknown or still runs, or the node does
not answer; 2 wrong usage; 78 configuration errors.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge cancel 01a21b75-4298-4000-bdd5-09a403a99a68",
        "infernet-edge cancel ID ID --url http://raspberrypi.local:4000",
        text=_TEXT,
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id of a job")
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Cancel; returns 0 when all jobs have ended, else 1."""
    return with_node(arguments, partial(_cancel, arguments))


def _cancel(arguments: argparse.Namespace, node: NodeClient) -> int:
    from infernet_edge.cli.remote.output import NodeOutput
    from infernet_edge.cli.remote.results import id_parameters, states_in

    identifiers = list(dict.fromkeys(arguments.ids))
    answer = node.fetch("DELETE", "/api/jobs", id_parameters(identifiers), wait=_SAVING_SECONDS)
    found = {state.id: state for state in states_in(node, answer)}
    if arguments.json:
        NodeOutput().write_json(answer)
    code = 0
    for identifier in identifiers:
        state = found.get(identifier)
        if state is None:
            print_error(f"No such job, or it belongs to another client: {identifier}")
        elif not arguments.json:
            print(visible(f"{identifier}  {_said(state)}"))
        if state is None or not state.has_ended:
            code = 1
    return code


def _said(state: JobState) -> str:
    if state.was_cancelled:
        return "cancelled"
    return f"had ended before: {state.status}" if state.has_ended else "is being cancelled"
