"""Connections: names, addresses, proxies of the environment."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.cli.remote import sockets
from infernet_edge.cli.remote.address import NodeAddress, parse_url
from infernet_edge.cli.remote.client import NodeClient
from infernet_edge.cli.remote.failures import NodeError
from tests.support.ports import free_port
from tests.support.serving import Echo, serving, talking


def fetch(url: str, path: str = "/health") -> Any:
    return NodeClient(parse_url(url)).get(path)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://no-such-host.invalid:4000", "the name no-such-host.invalid is not known here"),
        ("http://127.0.0.1:9", "nothing listens at port 9"),
    ],
)
def test_what_cannot_be_reached(url: str, text: str) -> None:
    with pytest.raises(NodeError, match=text):
        fetch(url)


def test_a_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(4))
    began = time.monotonic()
    with pytest.raises(NodeError, match="is not known here"):
        fetch("http://slow.example:4000")
    assert time.monotonic() - began < 3.5


def test_a_server_that_does_not_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        try:
            with pytest.raises(NodeError, match="does not answer"):
                fetch(f"http://127.0.0.1:{port}")
        finally:
            for each in waiting:
                each.close()


async def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def two(host: str, port: int, *rest: Any, **named: Any) -> Any:
        down = real("127.0.0.1", free_port(), type=socket.SOCK_STREAM)
        return [*down, *real("127.0.0.1", port, type=socket.SOCK_STREAM)]

    async with serving(Echo()) as url:
        port = url.rpartition(":")[2]
        monkeypatch.setattr(socket, "getaddrinfo", two)
        assert await asyncio.to_thread(fetch, f"http://two.example:{port}") == {}


async def test_a_proxy_is_not_used_in_this_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with serving(Echo()) as url:
        port = url.rpartition(":")[2]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        for host in ("127.0.0.1", "pi", "pi.local", "pi.lan", "node.example"):
            # The last one is a name of any network whose address is one of this network.
            assert await asyncio.to_thread(fetch, f"http://{host}:{port}") == {}


async def test_a_proxy_is_used_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    received = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        if received[-1].startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async with talking(proxy) as url:
        authority = url.removeprefix("http://")
        monkeypatch.setenv("HTTP_PROXY", f"http://anna:pass@{authority}")
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert await asyncio.to_thread(fetch, "http://node.invalid:4000") == {}
        with pytest.raises(NodeError, match=r"the proxy .* refuses the connection: 403"):
            await asyncio.to_thread(fetch, "https://node.invalid")
    assert received[0].startswith(b"GET http://node.invalid:4000/health HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic YW5uYTpwYXNz\r\n" in received[0]
    assert received[1].startswith(b"CONNECT node.invalid:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("proxy", "text"),
    [("https://proxy.example", "only proxies at http://"), ("socks5://x", "is not supported")],
)
def test_proxies_that_cannot_be_used(
    proxy: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(NodeError, match=text):
        fetch("https://node.invalid")


def test_the_control_socket(tmp_path: Path) -> None:
    node = NodeClient(NodeAddress(socket=tmp_path / "control.sock"))
    with pytest.raises(NodeError, match=r"No node runs .* infernet-edge run"):
        node.get("/health")
    long = NodeClient(NodeAddress(socket=tmp_path / ("a" * 200) / "control.sock"))
    with pytest.raises(NodeError, match="Use its API with --url"):
        long.get("/health")
