"""Errors in the middle of streams."""

from __future__ import annotations

import pytest

from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols import openai

ERROR = b'{"error":{"message":"out of memory","code":500}}'


def found(stream: bytes, size: int) -> str:
    """The failure in a stream that arrives in chunks of this size; "" for none."""
    watch = openai.event_watch()
    try:
        for start in range(0, len(stream), size):
            watch(stream[start : start + size])
        watch(b"\n")
    except ContainerFailure as error:
        return str(error)
    return ""


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + ERROR + b"\n\n",
        b"data:" + ERROR + b"\r\n\r\n",
        b'data: {"choices":[]}\n\ndata: ' + ERROR + b"\n\ndata: [DONE]\n\n",
        b"error: " + ERROR + b"\n\n",
        b'error: {"message":"out of memory","code":500}\n\n',
        b'event: error\ndata: {"type":"error","message":"out of memory"}\n\n',
        b'event: error\r\ndata: {"error":"out of memory"}\r\n\r\n',
        b": a comment\n\nid: 1\ndata: " + ERROR,  # it ends with the connection
        b"data: " + b"x" * 50_000 + b"\n\ndata: " + ERROR + b"\n\n",
        b"data: \xff\n\ndata: " + ERROR + b"\n\n",
    ],
)
def test_errors(stream: bytes, size: int) -> None:
    assert found(stream, size) == "out of memory"


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"choices":[{"delta":{"content":"\\"error\\""}}]}\n\ndata: [DONE]\n\n',
        b'data: {"error":null,"choices":[]}\n\n',
        b'data: {"error":false}\n\ndata: {"error":{}}\n\ndata: {"error":""}\n\n',
        b'event: message\ndata: {"message":"no error"}\n\n',
        b'event: error\n\ndata: {"message":"of another event"}\n\n',
        b'event: error\ndata: no JSON\n\ndata: {"message":"of another event"}\n\n',
        b'{"error":"a line of its own form"}\n',
        b"data: error\n\ndata: {error\n\n",
        b'data: {"object":"list","data":[1]}',
        b"",
        b"\xff\x00error\n" * 10,
        b'data: {"error":"' + b"x" * 20_000 + b'"}\n\n',  # longer than any error
    ],
)
def test_what_is_none(stream: bytes, size: int) -> None:
    assert found(stream, size) == ""


def test_a_line_without_an_end_is_not_kept() -> None:
    watch = openai.event_watch()
    for _ in range(100):
        watch(b"data: " + b"x" * 64 * 2**10)
    with pytest.raises(ContainerFailure, match="out of memory"):
        watch(b"\n\ndata: " + ERROR + b"\n")
