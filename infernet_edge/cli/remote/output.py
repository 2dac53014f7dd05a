"""What the node sent, on stdout: unchanged in a pipe or file, made visible on a terminal."""

from __future__ import annotations

import codecs
import sys
from typing import Final

import msgspec

from infernet_edge.cli.text import visible

_MAX_FORMATTED: Final = 2**20  # bytes of JSON that are indented for a terminal
_PART: Final = 2**20  # bytes that are made visible at once


class NodeOutput:
    """Writes bytes of the node, in parts as they arrive.

    Nothing that a terminal interprets reaches one. In a pipe or a file the bytes are the node's.
    """

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._last = b"\n"

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes at once."""
        if not data:
            return
        if not self._terminal:
            sys.stdout.flush()  # what was printed before
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            view = memoryview(data)
            for start in range(0, len(view), _PART):
                sys.stdout.write(visible(self._decoder.decode(view[start : start + _PART])))
            sys.stdout.flush()
        self._last = bytes(memoryview(data)[-1:])

    def end_line(self) -> None:
        """End the last line, on a terminal also where the node did not."""
        if self._terminal:
            sys.stdout.write(visible(self._decoder.decode(b"", final=True)))
            if self._last != b"\n":
                sys.stdout.write("\n")

    def write_json(self, document: bytes | bytearray | memoryview) -> None:
        """Write a JSON document on lines of its own; indented on a terminal, if it is not long."""
        if self._terminal and len(document) <= _MAX_FORMATTED:
            self.write(msgspec.json.format(bytes(document), indent=2))
        else:
            self.write(document)
        self.write(b"\n")
