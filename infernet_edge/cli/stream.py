"""`infernet-edge stream`: run a container, and print what it says as it says it."""

from __future__ import annotations

import argparse
import base64
import codecs
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import (
    add_job_arguments,
    add_node_arguments,
    print_error,
    with_node,
)

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import Incoming, NodeClient
    from infernet_edge.cli.remote.failures import NodeUnreachable

HELP = "run one container and print its output as it comes"

_SILENCE_SECONDS: Final = 3600.0  # the node ends a stream earlier: containers[].timeout
_MAX_ID: Final = 200  # bytes
_TEXT: Final = """\
The output is what the container sends, unchanged; on a terminal, characters
that it would interpret are escaped. The id of the job is printed on stderr.
With --json there is a line for each event: {"id"}, {"chunk"} or
{"chunk_base64"} for bytes that are not UTF-8, and {"status"} at the end.

Exit codes: 0 the stream is complete; 1 it failed, or was refused; 2 wrong
usage; 78 configuration errors; 130 stopped by Ctrl+C: the job is cancelled.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        'infernet-edge stream writer \'{"prompt": "The lamp", "length": 8}\'',
        "infernet-edge stream writer --file input.json > output.txt",
        "infernet-edge stream writer '{}' --url http://raspberrypi.local:4000 --json",
        text=_TEXT,
    )
    parser.add_argument("container", metavar="CONTAINER", help="the container to run")
    add_job_arguments(parser)
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the stream; returns 0 when it is complete, else 1."""
    return with_node(arguments, partial(_stream, arguments))


def _stream(arguments: argparse.Namespace, node: NodeClient) -> int:
    from infernet_edge.cli.remote.data import request_body
    from infernet_edge.cli.remote.failures import NodeUnreachable
    from infernet_edge.cli.remote.output import NodeOutput
    from infernet_edge.cli.remote.results import compact

    body = request_body(arguments, [arguments.container], {})
    with node.open("POST", "/api/jobs/stream", body=body) as incoming:
        incoming.limit(_SILENCE_SECONDS, None)
        identifier, rest = _first_line(node, incoming)
        output = NodeOutput()
        chunks = _Chunks(output.write) if arguments.json else None
        if chunks:
            output.write(compact({"id": identifier}))
        else:
            print_error(f"job {identifier}")
        failure: NodeUnreachable | None = None
        try:
            while rest or (rest := incoming.read()):
                (chunks.write if chunks else output.write)(rest)
                rest = b""
        except NodeUnreachable as error:
            failure = error
    reason = _why(node, identifier, failure) if failure else ""
    if chunks:
        chunks.end()
        end = {"status": "failed", "error": reason} if failure else {"status": "success"}
        output.write(compact(end))
    else:
        output.end_line()
    sys.stdout.flush()
    if failure:
        print_error(reason)
    return 1 if failure else 0


def _first_line(node: NodeClient, incoming: Incoming) -> tuple[str, bytes]:
    """The id of the job, and what arrived together with it. Raises NodeError."""
    from infernet_edge.cli.remote.failures import NodeError

    head = b""
    while b"\n" not in head and len(head) <= _MAX_ID and (part := incoming.read()):
        head += part
    line, newline, rest = head.partition(b"\n")
    if not newline or len(line) > _MAX_ID:
        raise NodeError(
            f"{node.address.name} did not answer with the id of a job. Check the URL, and proxies"
            " before the node"
        )
    return line.decode("utf-8", "backslashreplace"), rest


def _why(node: NodeClient, identifier: str, failure: NodeUnreachable) -> str:
    """Why a stream ended early: what the node says about the job, else what was noticed."""
    from infernet_edge.cli.remote.client import decode
    from infernet_edge.cli.remote.failures import NodeError
    from infernet_edge.cli.remote.results import JobState

    try:
        answer = node.fetch("GET", f"/api/jobs/{identifier}", {"wait": "1"}, wait=1)
        state: JobState = decode(node.address, answer, JobState)
    except NodeError:
        return str(failure)
    if state.result is None or not state.result.error:
        return str(failure)
    return f"Job {identifier} failed in {state.result.container}: {state.result.error}"


class _Chunks:
    """Writes chunks as lines of JSON; a character that two chunks share is in the second one."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def write(self, data: bytes) -> None:
        """Write a line for a chunk."""
        from infernet_edge.cli.remote.results import compact

        before = self._decoder.getstate()[0]
        try:
            text = self._decoder.decode(data)
        except UnicodeDecodeError:
            self._decoder.reset()
            encoded = base64.b64encode(before + data).decode()
            self._write(compact({"chunk_base64": encoded}))
        else:
            if text:
                self._write(compact({"chunk": text}))

    def end(self) -> None:
        """Write what is left of a character without an end."""
        from infernet_edge.cli.remote.results import compact

        if rest := self._decoder.getstate()[0]:
            self._write(compact({"chunk_base64": base64.b64encode(rest).decode()}))
