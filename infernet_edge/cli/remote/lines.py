"""Answers that are read line by line: server-sent events, and one JSON document on each line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from infernet_edge.cli.remote.client import Incoming
from infernet_edge.cli.remote.failures import NodeError

_MAX_LINE: Final = 2**20  # bytes, also of the data of an event


class StreamEvent(NamedTuple):
    """A server-sent event; `id` is that of the last event that had one."""

    name: str
    data: bytes
    id: str


def lines(incoming: Incoming) -> Iterator[bytes]:
    """The lines of an answer as they arrive, without their ends. Raises NodeError."""
    rest = bytearray()
    while part := incoming.read():
        rest += part
        if b"\n" in part:
            *found, last = rest.split(b"\n")
            rest = bytearray(last)
            yield from (_bounded(line) for line in found)
        if len(rest) > _MAX_LINE:
            _bounded(rest)
    if rest:
        yield _bounded(rest)


def _bounded(line: bytearray) -> bytes:
    if len(line) > _MAX_LINE:
        raise NodeError(f"The node sent a line of more than {_MAX_LINE} bytes")
    return bytes(line.removesuffix(b"\r"))


def stream_events(incoming: Incoming) -> Iterator[StreamEvent]:
    """The events of a text/event-stream, WHATWG's HTML standard, 9.2.6. Raises NodeError.

    Lines end with LF or CR LF, as nodes and proxies send them.
    """
    name, identifier, size = "", "", 0
    data: list[bytes] = []
    for number, line in enumerate(lines(incoming)):
        if number == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if data:
                yield StreamEvent(name or "message", b"\n".join(data), identifier)
            name, data, size = "", [], 0
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
            size += len(value) + 1
            if size > _MAX_LINE:
                raise NodeError(f"The node sent an event of more than {_MAX_LINE} bytes")
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            identifier = value.decode("utf-8", "replace")
