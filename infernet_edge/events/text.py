"""The text of an event stream: text/event-stream of the WHATWG's HTML standard, section 9.2.

An event is some lines `field: value` and an empty line. A value cannot contain the end of a line:
data of several lines has one field for each.
"""

from __future__ import annotations

import re
from typing import Final

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b":\n\n"
"""A comment: parsers ignore it, and it shows that the connection is alive."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_NOT_IN_A_FIELD: Final = re.compile(r"[\r\n\0]")


def event_text(name: str, data: bytes, identifier: str = "") -> bytes:
    """One event; `data` is UTF-8. Without an identifier the reader keeps that of the last event.

    Raises ValueError when name or identifier contain what a field cannot.
    """
    if _NOT_IN_A_FIELD.search(name) or _NOT_IN_A_FIELD.search(identifier):
        raise ValueError("the name and the id of an event have one line")
    head = f"id: {identifier}\nevent: {name}\n" if identifier else f"event: {name}\n"
    lines = _LINE_END.sub(b"\ndata: ", data)
    return b"%bdata: %b\n\n" % (head.encode(), lines)


def retry_text(milliseconds: int) -> bytes:
    """The pause after which a reader that lost its connection connects again.

    It is a field of the event that follows.
    """
    return b"retry: %d\n" % milliseconds
