"""`infernet-edge containers`: list, restart, and pull the images of containers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, print_error, with_node
from infernet_edge.cli.text import visible

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient
    from infernet_edge.cli.remote.container_list import ListedContainer

HELP = "list containers with what they use; restart them, pull their images"

_ACTIONS: Final = ("restart", "pull")
_PULL_SECONDS: Final = 3600.0
_POLL_PERIOD: Final = 2.0  # seconds; within the usual rate limit
_NOTHING: Final = "None is configured. How to add one: infernet-edge help containers"
_TEXT: Final = """\
restart replaces a container by a new one, of the newest image on the machine; its running jobs are
called again. pull gets the image of a container, which runs on, and shows the progress. Of another
node (--url) both need a token of the scope operator.

Exit codes: 0 done; 1 no such container, it is not managed by the node, or its pull failed; 2 wrong
usage; 78 configuration errors.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge containers",
        "infernet-edge containers restart writer",
        "infernet-edge containers pull writer --url http://raspberrypi.local:4000",
        "infernet-edge containers --json",
        text=_TEXT,
    )
    parser.add_argument(
        "action", nargs="?", choices=_ACTIONS, metavar="restart|pull", help="what to do"
    )
    parser.add_argument("ids", nargs="*", metavar="CONTAINER", help="the ids of the containers")
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """List, restart or pull; returns 0, or 1 when the node refuses it or a pull fails."""
    if arguments.action is None:
        return with_node(arguments, partial(_list, arguments))
    if not arguments.ids:
        print_error(f"{arguments.action}: expected the id of a container, or several")
        return 2
    act = _restart if arguments.action == "restart" else _pull_all
    return with_node(arguments, partial(act, arguments))


def _list(arguments: argparse.Namespace, node: NodeClient) -> int:
    from infernet_edge.cli.container_report import listed_lines
    from infernet_edge.cli.remote.container_list import list_containers

    listed, raw = list_containers(node)
    if arguments.json:
        print(json.dumps(raw, indent=2))
    else:
        lines = [line for each in listed for line in listed_lines(each)]
        print(
            "\n".join(lines) or "None is configured. How to add one: infernet-edge help containers"
        )
    return 0


def _begin(node: NodeClient, identifier: str, action: str) -> dict[str, Any]:
    """Begin an action; returns the answer of the node. Raises NodeError."""
    from infernet_edge.cli.remote.client import decode

    path = f"/api/containers/{quote(identifier, safe='')}/{action}"
    found: dict[str, Any] = decode(node.address, node.fetch("POST", path), dict[str, Any])
    return found


def _restart(arguments: argparse.Namespace, node: NodeClient) -> int:
    answers = [_begin(node, identifier, "restart") for identifier in arguments.ids]
    if arguments.json:
        print(json.dumps(answers, indent=2))
    else:
        for answer in answers:
            print(visible(f"{answer.get('id')} is restarted: infernet-edge containers shows it"))
    return 0


def _pull_all(arguments: argparse.Namespace, node: NodeClient) -> int:
    described, code = [], 0
    for identifier in arguments.ids:
        before = _begin(node, identifier, "pull")
        item, raw = _pulled(node, identifier, is_quiet=arguments.json)
        described.append({**before, **raw})
        if item.pull_error:
            print_error(f"{identifier}: the image could not be pulled: {item.pull_error}")
            code = 1
        elif not arguments.json and item.new_digest:
            print(
                visible(
                    f"{identifier}: a newer image is here. To run it: infernet-edge containers"
                    f" restart {identifier}"
                )
            )
        elif not arguments.json:
            print(visible(f"{identifier}: the image is up to date"))
    if arguments.json:
        print(json.dumps(described, indent=2))
    return code


def _pulled(
    node: NodeClient, identifier: str, *, is_quiet: bool
) -> tuple[ListedContainer, dict[str, Any]]:
    """The container after its pull, whose progress is printed. Raises NodeError."""
    from infernet_edge.cli.remote.container_list import find_container
    from infernet_edge.cli.remote.failures import NodeError

    end = time.monotonic() + _PULL_SECONDS
    shown = ""
    while time.monotonic() < end:
        time.sleep(_POLL_PERIOD)
        item, raw = find_container(node, identifier)
        if item.pull is None:
            return item, raw
        progress = _progress(item)
        if not is_quiet and progress != shown:
            print(visible(f"{identifier}: {progress}"), file=sys.stderr)
            shown = progress
    raise NodeError(f"{identifier}: the pull takes longer than an hour; it continues")


def _progress(item: ListedContainer) -> str:
    from infernet_edge.cli.container_report import mebibytes

    if item.pull is None or item.pull.bytes is None:
        return "pulling"
    of = f" of {mebibytes(item.pull.of)}" if item.pull.of else ""
    return f"{mebibytes(item.pull.bytes)}{of} pulled"
