"""The text of an event stream, read by a strict parser."""

from __future__ import annotations

import pytest

from infernet_edge.events.text import HEARTBEAT, event_text, retry_text
from tests.support.event_stream import Parser, ReadEvent


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"{}", "{}"),
        (b"", ""),
        (b"one\ntwo", "one\ntwo"),
        (b"one\r\ntwo", "one\ntwo"),
        (b"one\rtwo", "one\ntwo"),
        (b"\nevent: forged\n\n", "\nevent: forged\n\n"),
        (b" leading", " leading"),
        ("é\u2028\x85".encode(), "é\u2028\x85"),
        (b"id: 7\ndata: x", "id: 7\ndata: x"),
    ],
)
def test_data_arrives_as_it_is(data: bytes, read: str) -> None:
    events = list(Parser().feed(event_text("job.failed", data, "1-a")))
    assert events == [ReadEvent("job.failed", read, "1-a")]


def test_every_cut_is_read_alike() -> None:
    text = retry_text(2000) + event_text("a.b", b"1\n2", "1-x") + HEARTBEAT + event_text("c.d", b"")
    whole = list(Parser().feed(text))
    assert [event.last_id for event in whole] == ["1-x", "1-x"]
    for cut in range(len(text) + 1):
        parser = Parser()
        assert [*parser.feed(text[:cut]), *parser.feed(text[cut:])] == whole
        assert parser.retry == 2000
        assert parser.comments == 1


@pytest.mark.parametrize("wrong", ["a\nb", "a\rb", "a\0b"])
def test_fields_of_one_line(wrong: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        event_text(wrong, b"")
    with pytest.raises(ValueError, match="one line"):
        event_text("a.b", b"", wrong)
