"""Answers that are read line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from infernet_edge.cli.remote.client import Incoming
from infernet_edge.cli.remote.failures import NodeError
from infernet_edge.cli.remote.lines import StreamEvent, lines, stream_events


class Parts:
    """An answer that arrives in these parts."""

    def __init__(self, *parts: bytes) -> None:
        self._parts: Iterator[bytes] = iter([*parts, b""])

    def read(self) -> bytes:
        return next(self._parts)


def answer(*parts: bytes) -> Incoming:
    return cast(Incoming, Parts(*parts))


def test_lines_in_parts_of_any_length() -> None:
    text = b"one\r\n\ntwo\nthree"
    expected = [b"one", b"", b"two", b"three"]
    assert list(lines(answer(text))) == expected
    assert list(lines(answer(*(bytes([byte]) for byte in text)))) == expected


def test_a_line_without_end_is_left() -> None:
    with pytest.raises(NodeError, match="a line of more than 1048576 bytes"):
        list(lines(answer(*[65536 * b"a"] * 20)))


def test_events() -> None:
    text = (
        b"\xef\xbb\xbfretry: 2000\nid: 1-a\nevent: job.accepted\ndata: {\ndata:}\n\n"
        b":\n\n: comment\n\nevent: without data\n\nid: 2-a\ndata: x\n\n"
        b"id: 3\0\ndata: y\n\ndata: cut"
    )
    expected = [
        StreamEvent("job.accepted", b"{\n}", "1-a"),
        StreamEvent("message", b"x", "2-a"),
        StreamEvent("message", b"y", "2-a"),
    ]
    assert list(stream_events(answer(text))) == expected
    crlf = text.replace(b"\n", b"\r\n").replace(b"{\r\n}", b"{\n}")
    assert list(stream_events(answer(*(bytes([byte]) for byte in crlf)))) == expected


def test_an_event_without_end_is_left() -> None:
    with pytest.raises(NodeError, match="an event of more than"):
        list(stream_events(answer(*[b"data: " + 65536 * b"a" + b"\n"] * 20)))
