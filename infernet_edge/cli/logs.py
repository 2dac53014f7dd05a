"""`infernet-edge logs`: the log of a container."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, print_error, whole, with_node

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient
    from infernet_edge.cli.remote.log_lines import LogLine
    from infernet_edge.cli.remote.output import NodeOutput

HELP = "show the log of a container"

_MAX_TAIL: Final = 2000  # lines, the most that a node gives
_USUAL_TAIL: Final = 300
_LAST_SECONDS: Final = 60.0
_TEXT: Final = """\
The log of the node itself: infernet-edge service logs. Of another node (--url) a token of the scope
operator is needed. Of many new lines the node leaves out some, which is said on stderr.

Exit codes: 0 shown; 1 no such container, or the node does not answer; 2 wrong usage; 78
configuration errors; 130 stopped by Ctrl+C.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge logs writer",
        "infernet-edge logs writer --follow --tail 20 --times",
        "infernet-edge logs writer --json --url http://raspberrypi.local:4000",
        text=_TEXT,
    )
    parser.add_argument("container", metavar="CONTAINER", help="the id of the container")
    parser.add_argument("-f", "--follow", action="store_true", help="keep showing new lines")
    parser.add_argument(
        "--tail",
        type=_tail,
        default=_USUAL_TAIL,
        metavar="N",
        help=f"how many of the last lines (default: {_USUAL_TAIL})",
    )
    parser.add_argument("--times", action="store_true", help="show the time of each line (UTC)")
    add_node_arguments(parser)


def _tail(text: str) -> int:
    return whole(text, 0, _MAX_TAIL)


def run(arguments: argparse.Namespace) -> int:
    """Show the log; returns 0, or 1 when it is not available."""
    return with_node(arguments, partial(_run, arguments))


def _run(arguments: argparse.Namespace, node: NodeClient) -> int:
    from infernet_edge.cli.remote.output import NodeOutput

    output = NodeOutput()
    for line in _lines(arguments, node):
        _show(line, output, as_json=arguments.json, with_time=arguments.times)
    return 0


def _lines(arguments: argparse.Namespace, node: NodeClient) -> Iterator[LogLine]:
    """The lines of the log. Raises NodeError."""
    from infernet_edge.cli.remote.following import SILENCE_SECONDS, followed
    from infernet_edge.cli.remote.lines import lines
    from infernet_edge.cli.remote.log_lines import parse_line

    path = f"/api/containers/{quote(arguments.container, safe='')}/logs"
    query = {"tail": str(arguments.tail)}
    newest = 0

    def read(silence: float, total: float | None) -> Iterator[LogLine]:
        with node.open("GET", path, query) as incoming:
            incoming.limit(silence, total)
            for text in lines(incoming):
                yield parse_line(node.address, text)

    def connect() -> Iterator[LogLine]:
        """Lines that are newer than those of the connection before."""
        nonlocal newest
        known = newest
        if known:  # what was written meanwhile, too
            query["tail"] = str(_MAX_TAIL)
        for line in read(SILENCE_SECONDS, None):
            if line.t is None or line.t > known:
                newest = max(newest, line.t or 0)
                yield line

    if not arguments.follow:
        yield from read(_LAST_SECONDS, _LAST_SECONDS)
        return
    query["follow"] = "true"
    yield from followed(connect)


def _show(line: LogLine, output: NodeOutput, *, as_json: bool, with_time: bool) -> None:
    from infernet_edge.cli.job_report import moment

    if line.text == b"":  # the node shows that it is there
        return
    if as_json:
        output.write(line.text + b"\n")
    elif line.dropped:
        print_error(f"{line.dropped} lines were left out: there were too many in a second")
    else:
        start = f"{moment(line.t)}  " if with_time and line.t is not None else ""
        output.write(f"{start}{line.l}\n".encode("utf-8", "replace"))
