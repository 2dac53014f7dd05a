"""The head of a request."""

from __future__ import annotations

import pytest

from infernet_edge.http_client.errors import InvalidHeader
from infernet_edge.http_client.heads import head_of, with_length
from infernet_edge.http_client.urls import parse_url

TARGET = parse_url("http://a:3000/x?q=1")


def test_a_head() -> None:
    head = head_of("POST", TARGET, (("Content-Type", "application/json"), ("X", "ü")))
    expected = "POST /x?q=1 HTTP/1.1\r\nHost: a:3000\r\nContent-Type: application/json\r\nX: ü\r\n"
    assert head == expected.encode()
    assert with_length(head, 5) == head + b"Content-Length: 5\r\n\r\n"
    assert with_length(head, 0) == head + b"Content-Length: 0\r\n\r\n"
    assert with_length(head, None) == head + b"\r\n"


def test_a_host_of_the_caller_is_sent() -> None:
    assert head_of("GET", TARGET, (("host", "b"),)) == b"GET /x?q=1 HTTP/1.1\r\nhost: b\r\n"


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "CONNECTION"])
def test_how_the_body_is_sent_is_not_up_to_the_caller(name: str) -> None:
    assert b"5" not in head_of("GET", TARGET, ((name, "5"),)).partition(b"\r\n")[2].replace(
        b"a:3000", b""
    )


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nEvil: 1"),
        ("X", "a\nb"),
        ("X", "a\0b"),
        ("X", "\x7f"),
        ("X", "\ud800"),
        ("X y", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Ü", "a"),
        ("X\r\nEvil", "a"),
    ],
)
def test_what_is_not_one_header_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(InvalidHeader) as refused:
        head_of("GET", TARGET, (header,))
    assert header[1] not in str(refused.value) or header[1] == "a"


def test_a_tab_is_part_of_a_value() -> None:
    assert b"X: a\tb\r\n" in head_of("GET", TARGET, (("X", "a\tb"),))
