"""Lines of the log of a container, as nodes send them."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from infernet_edge.cli.remote.address import NodeAddress
from infernet_edge.cli.remote.client import decode


class LogLine(Struct, frozen=True):
    """A line `l` that was written at `t` (milliseconds since 1970), or the number of `dropped`.

    `text` is the JSON text; b"" for a line without content, which nodes send from time to time.
    """

    t: int | None = None
    l: str = ""  # noqa: E741 - the name of the field
    dropped: int = 0
    text: bytes = b""


def parse_line(address: NodeAddress, text: bytes) -> LogLine:
    """The line in a JSON text. Raises NodeError."""
    if not text.strip():
        return LogLine()
    line: LogLine = decode(address, text, LogLine)
    return replace(line, text=text)
