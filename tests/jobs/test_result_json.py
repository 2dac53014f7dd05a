"""ContainerResults as JSON text."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from infernet_edge.jobs.result_json import (
    container_error,
    container_output,
    json_list,
    streamed_output,
)


def test_an_output_is_stored_as_the_container_sent_it() -> None:
    wide = b'{ "r": %d, "f": 1.10 }' % (2**256)
    assert container_output("a", wide) == b'{"container":"a","output":%b}' % wide


@pytest.mark.parametrize("text", ["", "boom", 'quotes " and \\ and\nlines', "ü😀", "\x00\x1f"])
def test_an_error_with_any_text_is_json(text: str) -> None:
    assert json.loads(container_error("a", text)) == {"container": "a", "error": text}


def test_a_long_error_is_shortened() -> None:
    assert len(json.loads(container_error("a", "x" * 4096))["error"]) == 4096
    shortened = json.loads(container_error("a", "x" * 4097))["error"]
    assert len(shortened) == 4096
    assert shortened.endswith("x…")


def streamed(*texts: bytes, truncated: bool = False, complete: bool = True) -> Any:
    """The ContainerOutput of a stream that came in these parts."""
    parts = streamed_output("a", lambda: iter(texts), truncated=truncated, complete=complete)
    return json.loads(b"".join(parts))


@pytest.mark.parametrize("text", ["", "plain", "ü\n😀", "\ufffd"])
def test_a_stream_of_text(text: str) -> None:
    found = streamed(text.encode())
    assert found == {"container": "a", "output": {"output": text}}


@pytest.mark.parametrize("content", [b"\xff", b"abc\x80", "ü".encode()[:1], b"\xed\xa0\x80"])
def test_a_stream_of_bytes(content: bytes) -> None:
    output = streamed(content)["output"]
    assert list(output) == ["output_base64"]
    assert base64.b64decode(output["output_base64"]) == content


def test_a_stream_that_was_too_long() -> None:
    output = streamed(b"abc", truncated=True, complete=False)["output"]
    assert output == {"output": "abc", "truncated": True}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_a_stream_in_parts(size: int) -> None:
    """For each thing that may be cut: a character, an escape, a group of base64."""
    for content in ('ü😀"\\\n'.encode(), b"\xff\x00abcdefgh", b""):
        parts = [content[start : start + size] for start in range(0, len(content), size)]
        assert streamed(*parts) == streamed(content)


def test_a_stream_that_ends_within_a_character() -> None:
    half = "abü".encode()[:-1]
    assert list(streamed(half)["output"]) == ["output_base64"]
    assert streamed(half, complete=False)["output"] == {"output": "ab"}


def test_lists() -> None:
    assert json_list([]) is None
    assert json_list([b"1"]) == b"[1]"
    assert json_list([b"1", b'{"a":2}']) == b'[1,{"a":2}]'
