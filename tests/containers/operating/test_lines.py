"""Frames of Podman's stream, and the lines that they make."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from infernet_edge.containers.operating.lines import MAX_LINE, Frame, Frames, Lines

TIME = "2026-11-27T10:40:11Z"
MOMENT = 1795776011000


def frame(content: bytes, stream: int = 1, time: str = TIME) -> bytes:
    body = time.encode() + b" " + content
    return struct.pack(">BxxxI", stream, len(body)) + body


def decoded(*contents: bytes, streams: tuple[int, ...] = (), end: bool = False) -> list[Any]:
    lines = Lines()
    kinds = streams or (1,) * len(contents)
    frames = [Frame(kind, TIME, each) for kind, each in zip(kinds, contents, strict=True)]
    found = [*lines.join(frames), *(lines.end() if end else ())]
    return [json.loads(line.text) for line in found]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_frames_may_arrive_in_any_pieces(size: int) -> None:
    stream = frame(b"one\n") + frame(b"two\n", 2) + frame(b"\n")
    frames = Frames()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    found = [each for piece in pieces for each in frames.feed(piece)]
    assert found == [Frame(1, TIME, b"one\n"), Frame(2, TIME, b"two\n"), Frame(1, TIME, b"\n")]


@pytest.mark.parametrize("stream", [b"\x07" * 8, struct.pack(">BxxxI", 1, 2**31), b"HTTP/1.1 200"])
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(ValueError, match="unknown form"):
        Frames().feed(stream)


def test_a_line_has_its_time_and_stream() -> None:
    assert decoded(b"one\n", b"two\r\n", streams=(1, 2)) == [
        {"t": MOMENT, "s": "out", "l": "one"},
        {"t": MOMENT, "s": "err", "l": "two"},
    ]


def test_parts_of_lines_are_joined_by_stream() -> None:
    found = decoded(b"a", b"x", b"b", b"y\n", b"\n", streams=(1, 2, 1, 2, 1))
    assert [each["l"] for each in found] == ["xy", "ab"]
    assert decoded(b"without an end") == []
    assert [each["l"] for each in decoded(b"without an end", end=True)] == ["without an end"]


@pytest.mark.parametrize("content", [b"x", "é".encode(), b"\xff", b"\x00"])
def test_long_lines_are_cut_and_say_so(content: bytes) -> None:
    whole = content * 100_000
    pieces = [whole[start : start + 8000] for start in range(0, len(whole), 8000)]
    (found,) = decoded(*pieces, b"\n")
    assert len(found["l"].encode()) <= MAX_LINE
    assert found["l"].endswith(f"… (cut off, {len(whole)} bytes)")


def test_a_line_of_the_maximum_is_not_cut() -> None:
    (found,) = decoded(b"x" * MAX_LINE + b"\n")
    assert found["l"] == "x" * MAX_LINE


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    (found,) = decoded(b"\xff\x1b[31mred\x00\n")
    assert found["l"] == "\ufffd\x1b[31mred\x00"


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-11-27T10:40:11.123456789Z", MOMENT + 123),
        ("2026-11-27T11:40:11.5+01:00", MOMENT + 500),
        ("never", 0),
    ],
)
def test_times(time: str, moment: int) -> None:
    (line,) = Lines().join([Frame(1, time, b"x\n")])
    assert line.time == json.loads(line.text)["t"] == moment
