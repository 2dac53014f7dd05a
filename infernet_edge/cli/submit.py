"""`infernet-edge submit`: send a job, and wait for its result if that is wanted."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import (
    add_job_arguments,
    add_node_arguments,
    containers_in,
    print_error,
    seconds,
    whole,
    with_node,
)

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient

HELP = "send a job to a node"

_MAX_KEY: Final = 255  # characters
_TEXT: Final = """\
Without --wait it prints the id of the job, which is then on the disk of the
node. With --wait it prints the output of the last container.

Exit codes: 0 accepted, with --wait: finished; 1 refused, failed, or not
finished in time; 2 wrong usage; 78 configuration errors; 130 stopped by
Ctrl+C: the job continues.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        'infernet-edge submit writer \'{"prompt": "The house"}\' --wait 30',
        "infernet-edge submit writer,rater --file input.json",
        "./prepare | infernet-edge submit writer - --wait 60 --json",
        "infernet-edge submit writer '{}' --url http://raspberrypi.local:4000",
        text=_TEXT,
    )
    parser.add_argument(
        "containers",
        type=containers_in,
        metavar="CONTAINER[,CONTAINER...]",
        help="the containers to run, one after the other",
    )
    add_job_arguments(parser)
    parser.add_argument(
        "--wait", type=seconds, metavar="N", help="wait for the result, at most N seconds"
    )
    parser.add_argument(
        "--priority",
        type=_priority,
        metavar="N",
        help="-10 to 10 (default: 0); a job of a higher priority runs before others that wait",
    )
    parser.add_argument(
        "--deadline",
        type=_deadline,
        metavar="SECONDS",
        help="fail when it has not started by then",
    )
    parser.add_argument(
        "--timeout",
        type=_deadline,
        metavar="SECONDS",
        help="for each container, at most that of its configuration",
    )
    parser.add_argument(
        "--idempotency-key",
        type=_key,
        metavar="KEY",
        help="any text: repeated with the same one, the job is executed once",
    )
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the job; returns 0, 1 when it was refused, failed or did not end in time."""
    return with_node(arguments, partial(_submit, arguments))


def _submit(arguments: argparse.Namespace, node: NodeClient) -> int:
    from infernet_edge.cli.remote.client import decode
    from infernet_edge.cli.remote.data import request_body
    from infernet_edge.cli.remote.failures import NodeUnreachable
    from infernet_edge.cli.remote.output import NodeOutput

    named = {name: getattr(arguments, name) for name in ("priority", "deadline", "timeout")}
    options = {name: value for name, value in named.items() if value is not None}
    body = request_body(arguments, arguments.containers, options)
    key = arguments.idempotency_key
    try:
        answer = node.fetch(
            "POST", "/api/jobs", body=body, headers={"Idempotency-Key": key} if key else None
        )
    except NodeUnreachable as error:
        if not error.reached:
            raise
        print_error(f"{error}. {_repeat(key)}")
        return 1
    del body
    identifier = str(decode(node.address, answer, dict[str, str]).get("id", ""))
    if arguments.wait is not None:
        return _wait(arguments, node, identifier)
    if arguments.json:
        NodeOutput().write_json(answer)
    else:
        print(identifier)
    return 0


def _wait(arguments: argparse.Namespace, node: NodeClient, identifier: str) -> int:
    from infernet_edge.cli.remote.output import NodeOutput
    from infernet_edge.cli.remote.results import print_result, wait_for

    try:
        state, document = wait_for(node, identifier, time.monotonic() + arguments.wait, known=True)
    except BaseException:
        print(f"The job continues: infernet-edge wait {identifier}", file=sys.stderr)
        raise
    output = NodeOutput()
    if arguments.json:
        output.write_json(document)
    else:
        print_result(state, output=output)
    return 0 if state.status == "success" else 1


def _repeat(key: str | None) -> str:
    """What to do when it is not known whether the job was accepted."""
    if key:
        return f"Send the job again with --idempotency-key {key}: it is executed once"
    return (
        "It is not known whether the job was accepted: infernet-edge jobs lists it then. With"
        " --idempotency-key KEY it can be repeated safely"
    )


def _priority(text: str) -> int:
    from infernet_edge.schema import MAX_PRIORITY

    return whole(text, -MAX_PRIORITY, MAX_PRIORITY)


def _deadline(text: str) -> int:
    from infernet_edge.schema import MAX_DEADLINE_SECONDS

    return whole(text, 1, MAX_DEADLINE_SECONDS, " of seconds")


def _key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text or not 0 < len(text) <= _MAX_KEY:
        raise argparse.ArgumentTypeError(
            f"expected 1 to {_MAX_KEY} visible ASCII characters without spaces"
        )
    return text
