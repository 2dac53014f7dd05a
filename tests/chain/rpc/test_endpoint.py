"""Where requests go: through proxies, to this machine, and not to where servers redirect."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from infernet_edge.chain.rpc import endpoint
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
from infernet_edge.http_client.client import HttpClient
from tests.support.delegated import request_v1
from tests.support.events import Events
from tests.support.evm import ALICE, V1
from tests.support.onchain import on_chain, settled
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.scripted_rpc import ScriptedRpc, reply
from tests.support.serving import read_request, serving, talking

NUMBER = ("eth_blockNumber", list[Any]())
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the machine do not count."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRpc]:
    async with ScriptedRpc() as server:
        server.results["eth_blockNumber"] = "0x5"
        yield server


@asynccontextmanager
async def client(url: str) -> AsyncIterator[RpcClient]:
    async with HttpClient() as http:
        rpc = RpcClient(http, [url], timeout=2)
        yield rpc
        await rpc.close()


async def failure(url: str) -> str:
    async with client(url) as rpc:
        with pytest.raises(RpcUnavailable) as raised:
            await rpc.call(*NUMBER)
    return str(raised.value)


class ForwardProxy:
    """A proxy that forwards all requests to one server; `asked` are the URLs that it was given."""

    def __init__(self, server: ScriptedRpc) -> None:
        self.asked: list[str] = []
        self.authorization: list[str] = []
        self._server = server

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.raw_path}")
        self.authorization.append(request.headers.get("Proxy-Authorization", ""))
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._server.url, data=await request.read()) as response,
        ):
            return web.Response(body=await response.read(), content_type="application/json")


async def test_a_proxy_is_used(
    server: ScriptedRpc, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    proxy = ForwardProxy(server)
    async with serving(proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url.replace("://", "://user:secret@"))
        async with client("http://rpc.example.org/key") as rpc:
            assert await rpc.call(*NUMBER) == "0x5"
    assert set(proxy.asked) == {"POST http://rpc.example.org/key"}
    given = base64.b64encode(b"user:secret").decode()
    assert set(proxy.authorization) == {f"Basic {given}"}
    [logged] = events.of("rpc.proxy_used")
    assert logged["server"] == "rpc.example.org"
    assert "secret" not in str(events.seen)


async def test_a_proxy_is_not_used_for_exceptions(
    server: ScriptedRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ForwardProxy(server)
    async with serving(proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "example.org,invalid")
        assert "no connection" in await failure("http://nowhere.invalid./key")
    assert not proxy.asked


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with talking(refuse) as url:
        monkeypatch.setenv("ALL_PROXY", url.replace("://", "://user:secret@"))
        text = await failure(f"{scheme}://rpc.example.org/api-key")
    assert "status 407 of the connection to the proxy 127.0.0.1:" in text
    assert "of ALL_PROXY; is its user name and password right?" in text
    assert "secret" not in text
    assert "api-key" not in text
    line = {"http": b"POST http://rpc.example.org/api-key", "https": b"CONNECT rpc.example.org:443"}
    assert asked[0].startswith(line[scheme])
    assert b"proxy-authorization: basic " in asked[0].lower()


async def test_a_proxy_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:1")
    text = await failure("https://rpc.example.org/key")
    assert "no connection to the proxy 127.0.0.1:1 of HTTPS_PROXY" in text
    assert "secret" not in text


async def test_a_server_that_closes_in_the_handshake_of_tls() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2**16)

    async with talking(talk) as url:
        assert "no connection (Connection reset by peer)" in await failure(
            f"{url}/key".replace("http", "https")
        )


async def test_a_proxy_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:secret@127.0.0.1:1080")
    text = await failure("https://rpc.example.org/key")
    assert "HTTPS_PROXY: a proxy of the kind socks5 is not supported" in text
    assert "secret" not in text


async def test_neither_this_machine_nor_containers_are_behind_a_proxy(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        assert (await node.post("/api/jobs", request_v1(v1, consumer).body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        assert echo.calls


# Names of this machine


@pytest.mark.parametrize("host", ["host.docker.internal", "HOST.containers.internal."])
async def test_a_name_that_only_containers_know(
    server: ScriptedRpc, events: Events, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown(monkeypatch)
    async with client(f"http://{host}:{server.port}/key") as rpc:
        for _ in range(3):
            assert await rpc.call(*NUMBER) == "0x5"
    [logged] = events.of("rpc.host_replaced")
    assert logged["used"] == "127.0.0.1"
    assert "key" not in str(events.seen)


def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is in the name service."""

    async def look_up(*arguments: Any, **options: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)


async def test_a_name_that_is_known_is_used(
    server: ScriptedRpc, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    original = loop.getaddrinfo

    async def look_up(host: Any, port: Any, **options: Any) -> list[Any]:
        known = "127.0.0.2" if host == "host.docker.internal" else host
        return await original(known, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    text = await failure(f"http://host.docker.internal:{server.port}")  # it listens on 127.0.0.1
    assert "no connection" in text
    assert not events.of("rpc.host_replaced")


async def test_other_names_are_not_replaced(
    server: ScriptedRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown(monkeypatch)
    assert "no connection" in await failure(f"http://rpc.internal:{server.port}")


async def test_a_name_that_becomes_known(
    server: ScriptedRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_REPLACED_FOR", 0.0)
    original = asyncio.get_running_loop().getaddrinfo
    unknown(monkeypatch)
    async with client(f"http://host.docker.internal:{server.port}") as rpc:
        assert await rpc.call(*NUMBER) == "0x5"

        async def look_up(host: Any, port: Any, **options: Any) -> list[Any]:
            return await original("127.0.0.2", port, **options)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        with pytest.raises(RpcUnavailable, match="no connection"):
            await rpc.call(*NUMBER)


# Redirections


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://user:secret@rpc.example.org:444/secret?k=secret", "https://rpc.example.org:444"),
        ("//other.example.org/secret", "http://other.example.org"),
        ("https://[fd00::1]/secret", "https://[fd00::1]"),
        ("/secret", "another path of the same server"),
        ("", "nothing"),
        ("https://[secret", "something that is not a URL"),
        ("https://host:secret/", "something that is not a URL"),
    ],
)
async def test_a_redirection_is_named_and_not_followed(
    server: ScriptedRpc, status: int, location: str, named: str
) -> None:
    server.always = reply(status, headers={"Location": location} if location else None)
    text = await failure(f"{server.url}/api-key")
    assert f"status {status}: it redirects to {named}; correct chain.rpc_url" in text
    assert "secret" not in text
    assert "api-key" not in text


# Keys


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "authenticate"}}',
        b'{"error": {"code": -32002, "message": "rejected due to project ID settings"}}',
        b'{"error": "invalid api key"}',
        b'{"message": "No API key found in request"}',
        b'[{"message": "forbidden"}]',
        b"<html>no</html>",
        b"",
    ],
)
async def test_a_key_that_is_wrong(server: ScriptedRpc, status: int, body: bytes) -> None:
    server.always = reply(status, body)
    text = await failure(server.url)
    assert f"status {status}" in text
    assert "is the key in chain.rpc_url right?" in text


@pytest.mark.parametrize("status", [200, 401, 500])
async def test_a_key_that_the_server_repeats(
    server: ScriptedRpc, status: int, events: Events
) -> None:
    key, other = "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "a_part-of the query"
    error = f'{{"code": -32000, "message": "project {key} ({other}) not found"}}'
    server.always = reply(status, f'{{"jsonrpc": "2.0", "id": 1, "error": {error}}}'.encode())
    async with client(f"{server.url}/v3/{key}?token={quote(other)}") as rpc:
        with pytest.raises((RpcUnavailable, RpcError)) as raised:
            await rpc.call(*NUMBER)
    for secret in (key, other):
        assert secret not in f"{raised.value} {rpc.problem} {events.seen} {rpc.servers()}"


# What else servers do that is right enough


@pytest.mark.parametrize(
    "behaviour", [Behaviour(numeric_chain_id=True), Behaviour(ids_as_text=True)]
)
async def test_servers_that_take_types_lightly(v1: V1, behaviour: Behaviour) -> None:
    async with RpcProxy(v1.anvil.url, behaviour) as proxy, client(proxy.url) as rpc:
        assert await rpc.batch([NUMBER, NUMBER]) == 2 * [await rpc.call(*NUMBER)]
        assert rpc.chain_id == v1.anvil.chain_id
