"""URLs as a request sends them."""

from __future__ import annotations

import tracemalloc

import pytest

from infernet_edge.http_client.errors import InvalidUrl
from infernet_edge.http_client.heads import head_of
from infernet_edge.http_client.urls import Origin, parse_url, unix_target


@pytest.mark.parametrize(
    ("url", "origin", "target", "host"),
    [
        ("http://a:3000", Origin("a", 3000), "/", "a:3000"),
        ("http://a/", Origin("a", 80), "/", "a"),
        ("http://a:80/x", Origin("a", 80), "/x", "a"),
        ("HTTPS://A.Example/x/", Origin("a.example", 443, is_tls=True), "/x/", "a.example"),
        ("https://a:80", Origin("a", 80, is_tls=True), "/", "a:80"),
        ("http://[::1]:3000/x", Origin("::1", 3000), "/x", "[::1]:3000"),
        ("http://[fe80::1%eth0]/", Origin("fe80::1%eth0", 80), "/", "[fe80::1]"),
        ("http://[fe80::1%25eth0]:81/", Origin("fe80::1%eth0", 81), "/", "[fe80::1]:81"),
        ("http://[fe80::1%25]/", Origin("fe80::1%25", 80), "/", "[fe80::1]"),
        (
            "http://bücher.example/",
            Origin("xn--bcher-kva.example", 80),
            "/",
            "xn--bcher-kva.example",
        ),
        ("http://user:secret@a/x", Origin("a", 80), "/x", "a"),
        ("http://a/x y/ü?q=ä b#part", Origin("a", 80), "/x%20y/%C3%BC?q=%C3%A4%20b", "a"),
        ("http://a/%20/100%/%zz?a=%", Origin("a", 80), "/%20/100%25/%25zz?a=%25", "a"),
        ("http://a?x=1&x=2", Origin("a", 80), "/?x=1&x=2", "a"),
    ],
)
def test_a_url(url: str, origin: Origin, target: str, host: str) -> None:
    assert parse_url(url) == (origin, target, host)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a:3000",
        "ftp://a",
        "http://",
        "http://:3000",
        "http://a:99999",
        "http://a:x",
        "http://a..b",
        "http://.a",
        f"http://{'x' * 64}.example",
        "http://[::1",
        "http://ü..example",
        "http://a b/",
        "http://a\x00b/",
        "http://a\x85b/",
        "unix:///run/a",
    ],
)
def test_a_url_that_is_not_valid(url: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "query", "target"),
    [
        ("http://a/x", (("q", "a b"),), "/x?q=a+b"),
        ("http://a/x?p=1&q=2", (("q", "ä&"),), "/x?p=1&q=%C3%A4%26"),
        ("http://a/x?p=&q=2", (("r", ""),), "/x?p=&q=2&r="),
        ("http://a/x", (("q", "1"), ("q", "2")), "/x?q=1&q=2"),
    ],
)
def test_parameters_replace_those_of_the_url(
    url: str, query: tuple[tuple[str, str], ...], target: str
) -> None:
    assert parse_url(url, query).target == target


def test_a_unix_socket() -> None:
    target = unix_target("/run/podman.sock", "/v4/x", (("tail", "1"),))
    assert target == (Origin("", 0, socket_path="/run/podman.sock"), "/v4/x?tail=1", "localhost")


def test_what_clients_ask_for_does_not_fill_the_memory() -> None:
    """Such as the `model_id` of /resources: targets and heads are kept for the next call."""
    tracemalloc.start()
    try:
        for number in range(600):
            query = (("model_id", f"{number}" + "\U0001f600" * 1000),)
            head_of("GET", parse_url("http://a:3000/service-resources", query), ())
        assert tracemalloc.get_traced_memory()[0] < 6 * 2**20
    finally:
        tracemalloc.stop()


def test_nothing_of_a_url_ends_a_line_of_the_head() -> None:
    assert parse_url("http://a/x\r\nEvil: 1").target == "/xEvil:%201"
    assert "\n" not in parse_url("http://a/x%0d%0a").target
