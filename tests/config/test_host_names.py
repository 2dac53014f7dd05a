from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from infernet_edge.config import host_names
from infernet_edge.config.host_names import (
    host_of,
    is_loopback,
    is_loopback_address,
    replaced_hosts,
    resolves,
)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Host.Docker.Internal.:8545/key", "host.docker.internal"),
        ("https://user:pass@[::1]:1/", "::1"),
        ("http://[", ""),
        ("text", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("node.localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert is_loopback_address(host) is (expected and "local" not in host)


def test_a_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_names, "RESOLVING_TIME", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: time.sleep(3))
    began = time.monotonic()
    assert not resolves("host.docker.internal")
    assert time.monotonic() - began < 2.5


def test_which_hosts_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, *arguments: Any, **options: Any) -> list[Any]:
        if host == "host.containers.internal":
            return []
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    urls = [
        "http://host.docker.internal:8545",
        "http://HOST.docker.internal/other",
        "http://host.containers.internal",
        "https://rpc.example.org",
    ]
    assert replaced_hosts(urls) == ["host.docker.internal"]
