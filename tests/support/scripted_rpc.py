"""A JSON-RPC server of the test's own, well-behaved until it is told otherwise.

async with ScriptedRpc() as server:
    server.results["eth_blockNumber"] = "0x5"
    server.faults.append(reply(503))  # the next request meets it; `server.always` meets all
    rpc = Rpc(session, [server.url])
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import msgspec
from aiohttp import web

from tests.support.ports import free_port

CHAIN_ID = 31337

Asked = list[dict[str, Any]]
Fault = Callable[[web.Request, Asked], Awaitable[web.StreamResponse]]


class RpcFault(Exception):
    """Raised by a result that is a function: the error to answer with."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error)
        self.error = error


class ScriptedRpc:
    """Answers with `results`: a value, or a function of the params that may raise RpcFault.

    `requests` holds the methods of each HTTP request, in their order.
    """

    def __init__(self, *, chain_id: int = CHAIN_ID) -> None:
        self.chain_id = chain_id
        self.results: dict[str, Any] = {}
        self.requests: list[list[str]] = []
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port each time."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Close all connections and listen no longer."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def asked(self, method: str) -> int:
        """How often a method was called."""
        return sum(methods.count(method) for methods in self.requests)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        decoded = msgspec.json.decode(await request.read())
        asked: Asked = decoded if isinstance(decoded, list) else [decoded]
        self.requests.append([each["method"] for each in asked])
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is not None:
            return await fault(request, asked)
        answers = [self.answer(each) for each in asked]
        return _json(answers if isinstance(decoded, list) else answers[0])

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The proper answer to one call."""
        head = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] == "eth_chainId":
            return head | {"result": hex(self.chain_id)}
        if asked["method"] not in self.results:
            return head | {"error": {"code": -32601, "message": "the method is not available"}}
        result = self.results[asked["method"]]
        try:
            return head | {"result": result(*asked["params"]) if callable(result) else result}
        except RpcFault as fault:
            return head | {"error": fault.error}


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def reply(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Fault:
    """A fault: answer with these bytes."""

    async def fault(request: web.Request, asked: Asked) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return fault


def transformed(change: Callable[[list[dict[str, Any]]], Any], server: ScriptedRpc) -> Fault:
    """A fault: answer with what `change` makes of the proper answers."""

    async def fault(request: web.Request, asked: Asked) -> web.StreamResponse:
        return _json(change([server.answer(each) for each in asked]))

    return fault


async def silence(request: web.Request, asked: Asked) -> web.StreamResponse:
    """A fault: no answer while the client waits."""
    await asyncio.sleep(60)
    return web.Response()


async def hang_up(request: web.Request, asked: Asked) -> web.StreamResponse:
    """A fault: the connection is closed without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def endless(size: int) -> Fault:
    """A fault: a reply of that many bytes."""

    async def fault(request: web.Request, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        piece = b" " * 2**16
        for _ in range(0, size, len(piece)):
            await response.write(piece)
        return response

    return fault
