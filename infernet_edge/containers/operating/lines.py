"""Lines of a container's log, from the stream that Podman sends.

A frame has a head of 8 bytes, of which the first is the stream (1 stdout, 2 stderr) and the last
four are the size, then a time of RFC 3339, a space, and a line or a part of one
(https://docs.podman.io/en/latest/_static/api.html#tag/containers/operation/ContainerLogsLibpod).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from infernet_edge.schema import encoder

MAX_LINE: Final = 4096
"""Bytes of a line in UTF-8; the rest is cut off, which the line says."""

_MAX_FRAME: Final = 2**20  # bytes; Podman's own are 16 KiB at most
_NOTE_BYTES: Final = 64  # for the note that a line was cut
_HEAD: Final = struct.Struct(">BxxxI")
_NAMES: Final = {1: "out", 2: "err"}


class Frame(NamedTuple):
    """One frame: `time` is Podman's text."""

    stream: int
    time: str
    content: bytes


class Frames:
    """Splits the stream of one connection."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that are complete now. Raises ValueError for what is none."""
        rest, found, start = self._rest, [], 0
        rest += chunk
        while len(rest) - start >= _HEAD.size:
            stream, size = _HEAD.unpack_from(rest, start)
            if stream not in _NAMES or size > _MAX_FRAME:
                raise ValueError("Podman's log has an unknown form")
            end = start + _HEAD.size + size
            if end > len(rest):
                break
            time, _, content = bytes(rest[start + _HEAD.size : end]).partition(b" ")
            found.append(Frame(stream, time.decode("latin-1"), content))
            start = end
        del rest[:start]
        return found


class _Part:
    """The beginning of a line whose end is not there yet."""

    __slots__ = ("kept", "size", "time")

    def __init__(self, time: str) -> None:
        self.time = time
        self.kept = bytearray()
        self.size = 0

    def add(self, content: bytes) -> None:
        self.kept += content[: MAX_LINE + 1 - len(self.kept)]
        self.size += len(content)


class Line(NamedTuple):
    """A line as NDJSON, and its time in milliseconds since 1970."""

    text: bytes
    time: int


class Lines:
    """Joins the frames of one container to lines."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        self._moment = ("", 0)

    def join(self, frames: Iterable[Frame]) -> Iterator[Line]:
        """The lines that are complete with these frames."""
        for stream, time, content in frames:
            ended = content.endswith(b"\n")
            part = self._parts.get(stream)
            if part is None:
                part = self._parts[stream] = _Part(time)
            part.add(content[:-1] if ended else content)
            if ended:
                yield self._line(stream, self._parts.pop(stream))

    def end(self) -> Iterator[Line]:
        """The lines without an end, once their container has ended."""
        for stream in list(self._parts):
            yield self._line(stream, self._parts.pop(stream))

    def _line(self, stream: int, part: _Part) -> Line:
        if part.time != self._moment[0]:  # most lines of a burst have one time
            self._moment = (part.time, _milliseconds(part.time))
        moment = self._moment[1]
        fields = {"t": moment, "s": _NAMES[stream], "l": _text(part)}
        return Line(encoder.encode(fields) + b"\n", moment)


def _text(part: _Part) -> str:
    text = part.kept.decode("utf-8", "replace").removesuffix("\r")
    encoded = text.encode()
    if part.size <= MAX_LINE and len(encoded) <= MAX_LINE:
        return text
    kept = encoded[: MAX_LINE - _NOTE_BYTES].decode("utf-8", "ignore")
    return f"{kept}… (cut off, {part.size} bytes)"


def _milliseconds(time: str) -> int:
    """A time of RFC 3339 in milliseconds since 1970; 0 for what is none."""
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return 0
