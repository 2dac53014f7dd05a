"""`infernet-edge events`: what happens in a node, as it happens."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, print_error, whole, with_node

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient
    from infernet_edge.cli.remote.lines import StreamEvent

HELP = "show what happens in a node: jobs, containers, storage, chain"

_PATH: Final = "/api/events"
_MAX_TAIL: Final = 999  # that the node certainly still has
_USUAL_TAIL: Final = 100
_FIRST_SECONDS: Final = 15.0  # a node says hello immediately
_QUIET_SECONDS: Final = 1.0  # without --follow: what is kept arrives at once
_MAX_FIELD: Final = 300  # characters of a field that are shown
_NAME_COLUMNS: Final = 14
# Fields of jobs that say what the name says, or are in: infernet-edge jobs ID.
_LEFT_OUT: Final = frozenset(
    {"status", "steps", "attempts", "created_at", "started_at", "finished_at", "cancelled"}
)
_TEXT: Final = """\
A node keeps events while they are read, and for some minutes after; without --follow those are
shown. A line has the time, the name of the event, and its fields; infernet-edge help events lists
them. After a lost connection, --follow connects again and shows what was missed, as far as the node
keeps it. Of another node (--url) you see the events of your own jobs and those that are for all,
with a token of the scope operator those of all clients.

Exit codes: 0 shown; 1 the node does not answer; 2 wrong usage; 78 configuration errors; 130 stopped
by Ctrl+C.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge events",
        "infernet-edge events --follow --types job,container",
        "infernet-edge events -f --json --url http://raspberrypi.local:4000",
        text=_TEXT,
    )
    parser.add_argument("-f", "--follow", action="store_true", help="keep showing new events")
    parser.add_argument(
        "--types",
        type=_types,
        metavar="TYPE,...",
        help="job, container, storage, chain, attention, minute, machine (default: the first four)",
    )
    parser.add_argument(
        "--tail",
        type=_tail,
        metavar="N",
        help="show the last N events first, if the node keeps them (default:"
        f" {_USUAL_TAIL}; with --follow: 0)",
    )
    add_node_arguments(parser)


def _tail(text: str) -> int:
    return whole(text, 0, _MAX_TAIL)


def _types(text: str) -> str:
    from infernet_edge.events.bus import EVENT_TYPES

    known = [kind.name for kind in EVENT_TYPES]
    wanted = [each.strip() for each in text.split(",")]
    if not set(wanted) <= set(known):
        raise argparse.ArgumentTypeError(f"expected a list of {', '.join(known)}")
    return ",".join(wanted)


def run(arguments: argparse.Namespace) -> int:
    """Show events; returns 0, or 1 when the node does not answer."""
    return with_node(arguments, partial(_run, arguments))


def _run(arguments: argparse.Namespace, node: NodeClient) -> int:
    query = {"types": arguments.types} if arguments.types else {}
    tail = arguments.tail
    if tail is None:
        tail = 0 if arguments.follow else _USUAL_TAIL
    last = _before_tail(node, query, tail) if tail else ""
    show = partial(_show, as_json=arguments.json)
    if arguments.follow:
        for event in _followed(node, query, last):
            show(event)
        return 0
    if last:
        for event in _kept(node, query, last):
            show(event)
    elif tail:
        print_error(
            "The node has none: it keeps events while they are read, and for some minutes after."
            " To show those that come: infernet-edge events --follow"
        )
    return 0


def _before_tail(node: NodeClient, query: dict[str, str], tail: int) -> str:
    """The id of the event before the last ones that the node has, at most `tail`; "" for none.

    Ids are NUMBER-BOOT, and the numbers of the events of a node follow each other. Whether it has
    all events after one is known when that id is sent. Raises NodeError.
    """
    from infernet_edge.cli.remote.failures import NodeError

    first = next(_connected(node, query, "", _FIRST_SECONDS), None)
    if first is None or not (found := re.fullmatch(r"(\d{1,20})-(\w{1,100})", first.id)):
        raise NodeError(f"{node.address.name} does not number its events as a node does")
    newest, boot = int(found[1]), found[2]
    most, too_many = 0, min(tail, newest) + 1
    while too_many - most > 1:
        number = (most + too_many) // 2
        event = next(_connected(node, query, f"{newest - number}-{boot}", _FIRST_SECONDS), None)
        if event is not None and event.name == "hello":
            most = number
        else:
            too_many = number
    return f"{newest - most}-{boot}" if most else ""


def _connected(
    node: NodeClient, query: dict[str, str], last: str, silence: float
) -> Iterator[StreamEvent]:
    """The events of one connection, after the event with the id `last`. Raises NodeError."""
    from infernet_edge.cli.remote.lines import stream_events

    headers = {"Last-Event-ID": last} if last else None
    with node.open("GET", _PATH, query, headers=headers) as incoming:
        incoming.limit(silence, None)
        yield from stream_events(incoming)


def _kept(node: NodeClient, query: dict[str, str], last: str) -> Iterator[StreamEvent]:
    """The events that the node keeps. Raises NodeError."""
    from infernet_edge.cli.remote.failures import NodeUnreachable

    try:
        yield from _connected(node, query, last, _QUIET_SECONDS)
    except NodeUnreachable as error:
        if not error.timed_out:
            raise


def _followed(node: NodeClient, query: dict[str, str], last: str) -> Iterator[StreamEvent]:
    """All events from now on, of any number of connections. Raises NodeError."""
    from infernet_edge.cli.remote.following import SILENCE_SECONDS, followed

    def connect() -> Iterator[StreamEvent]:
        nonlocal last
        for event in _connected(node, query, last, SILENCE_SECONDS):
            last = event.id or last
            yield event

    yield from followed(connect)


def _show(event: StreamEvent, *, as_json: bool) -> None:
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):
        print_error(f"An event {event.name} without JSON was left out")
        return
    if as_json:
        print(json.dumps({"id": event.id, "event": event.name, "data": data}), flush=True)
    elif event.name == "resync":
        print_error("Some events were missed: the node was restarted, or does not keep them")
    elif event.name != "hello" and isinstance(data, dict):
        print("\n".join(_lines(event.name, data)), flush=True)


def _lines(name: str, data: dict[str, Any]) -> Iterator[str]:
    """The time, the name, what the event is about, and its other fields."""
    from infernet_edge.cli.text import width, wrapped

    moment = str(data.pop("time", "")).partition(".")[0]
    identifier = _text(data.pop("id", ""))
    start = f"{moment}Z  {name:<{_NAME_COLUMNS}}  "
    fields = {key: value for key, value in data.items() if key not in _LEFT_OUT and value}
    text = " ".join(f"{key}={_text(value)}" for key, value in fields.items())
    if len(start) + len(identifier) > width():
        yield from wrapped(start.rstrip(), "")
        yield from wrapped("    ", f"{identifier} {text}")
    else:
        yield from wrapped(start, f"{identifier} {text}".strip(), indent=4)


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ">".join(value)[:_MAX_FIELD]
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_FIELD else f"{text[:_MAX_FIELD]}..."
