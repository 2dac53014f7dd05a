"""ContainerResults as JSON text."""

from __future__ import annotations

import base64
import json

import pytest

from infernet_edge.jobs.results import (
    container_error,
    container_output,
    json_list,
    streamed_output,
)


def test_an_output_stands_as_the_container_sent_it() -> None:
    wide = b'{ "r": %d, "f": 1.10 }' % (2**256)
    assert container_output("a", wide) == b'{"container":"a","output":%b}' % wide


@pytest.mark.parametrize("text", ["", "boom", 'quotes " and \\ and\nlines', "ü😀", "\x00\x1f"])
def test_an_error_is_json_whatever_it_says(text: str) -> None:
    assert json.loads(container_error("a", text)) == {"container": "a", "error": text}


def test_a_long_error_is_shortened() -> None:
    assert len(json.loads(container_error("a", "x" * 4096))["error"]) == 4096
    shortened = json.loads(container_error("a", "x" * 4097))["error"]
    assert len(shortened) == 4096
    assert shortened.endswith("x…")


@pytest.mark.parametrize("text", ["", "plain", "ü\n😀", "\ufffd"])
def test_a_stream_of_text(text: str) -> None:
    found = json.loads(streamed_output("a", text.encode(), truncated=False))
    assert found == {"container": "a", "output": {"output": text}}


@pytest.mark.parametrize("content", [b"\xff", b"abc\x80", "ü".encode()[:1], b"\xed\xa0\x80"])
def test_a_stream_of_bytes(content: bytes) -> None:
    output = json.loads(streamed_output("a", content, truncated=False))["output"]
    assert list(output) == ["output_base64"]
    assert base64.b64decode(output["output_base64"]) == content


def test_a_stream_that_was_too_long() -> None:
    output = json.loads(streamed_output("a", b"abc", truncated=True))["output"]
    assert output == {"output": "abc", "truncated": True}


def test_lists() -> None:
    assert json_list([]) is None
    assert json_list([b"1"]) == b"[1]"
    assert json_list([b"1", b'{"a":2}']) == b'[1,{"a":2}]'
