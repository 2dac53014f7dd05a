"""Which proxy the environment names for a URL, and what it shows of it."""

from __future__ import annotations

import base64

import pytest

from infernet_edge.config.proxies import UnusableProxy, proxy_of

URL = "https://rpc.example.org/v2/api-key"


def proxy(environment: dict[str, str], url: str = URL) -> str:
    """The proxy's URL, "" without one."""
    found = proxy_of(url, environment)
    return "" if found is None else str(found.url)


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, URL, ""),
        ({"HTTPS_PROXY": "http://proxy:3128"}, URL, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://rpc.example.org", ""),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://rpc.example.org", "http://proxy:3128"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, URL, "http://a:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:2"}, URL, "http://b:2"),
        ({"ALL_PROXY": "http://a:1"}, URL, "http://a:1"),
        ({"all_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, URL, "http://b:2"),
        ({"HTTPS_PROXY": "proxy:3128"}, URL, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy"}, URL, "http://proxy:80"),
        ({"HTTPS_PROXY": "https://proxy"}, URL, "https://proxy:443"),
        ({"HTTPS_PROXY": " http://proxy:3128/ "}, URL, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, URL, "http://[fd00::1]:3128"),
    ],
)
def test_which_one(environment: dict[str, str], url: str, expected: str) -> None:
    assert proxy(environment, url) == expected


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "host.docker.internal",
        "a.localhost",
    ],
)
def test_this_machine_has_none(host: str) -> None:
    everything = {"ALL_PROXY": "http://proxy:1", "HTTP_PROXY": "http://proxy:1"}
    assert proxy(everything, f"http://{host}:8545") == ""


@pytest.mark.parametrize(
    ("exceptions", "url", "excepted"),
    [
        ("*", URL, True),
        ("rpc.example.org", URL, True),
        ("RPC.Example.ORG.", URL, True),
        ("example.org", URL, True),
        (".example.org", URL, True),
        ("*.example.org", URL, True),
        ("a.org, example.org", URL, True),
        ("a.org example.org", URL, True),
        ("xample.org", URL, False),
        ("org.example", URL, False),
        (".", URL, False),
        ("", URL, False),
        ("rpc.example.org:443", URL, True),
        ("rpc.example.org:8545", URL, False),
        ("10.1.2.3", "http://10.1.2.3:8545", True),
        ("10.0.0.0/8", "http://10.1.2.3:8545", True),
        ("10.0.0.0/8", "http://11.1.2.3:8545", False),
        ("10.1.2.3:8545", "http://10.1.2.3:8545", True),
        ("fd00::/8", "http://[fd12::1]:8545", True),
        ("[fd12::1]:8545", "http://[fd12::1]:8545", True),
        ("10.0.0.0/99", "http://10.1.2.3:8545", False),
    ],
)
def test_exceptions(exceptions: str, url: str, excepted: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        environment = {"ALL_PROXY": "http://proxy:3128", name: exceptions}
        assert proxy(environment, url) == ("" if excepted else "http://proxy:3128")


def test_its_credentials_are_not_part_of_what_is_shown() -> None:
    found = proxy_of(URL, {"HTTPS_PROXY": "http://user:p%40ss@proxy:3128"})
    assert found is not None
    assert found.authorization == "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert (found.name, found.variable) == ("proxy:3128", "HTTPS_PROXY")
    assert "ss@" not in str(found.url)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("socks5://user:secret@proxy:1080", "socks5 is not supported"),
        ("http://user:secret@:3128", "names no host|is not a URL"),
        ("http://user:secret@proxy:port", "is not a URL"),
        ("http://user:secret@[proxy", "is not a URL"),
        ("http://a%3Ab:secret@proxy", "must not have a colon"),
    ],
)
def test_what_cannot_be_used(value: str, reason: str) -> None:
    with pytest.raises(UnusableProxy, match=reason) as raised:
        proxy_of(URL, {"HTTPS_PROXY": value})
    assert "HTTPS_PROXY" in str(raised.value)
    assert "secret" not in str(raised.value)
