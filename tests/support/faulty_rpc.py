"""Stands between a node and its EVM and spoils the answers when a test says so.

proxy = FaultyRpc(anvil.url)
async with serving(proxy) as url:
    proxy.fault = html
    ...
    proxy.heal()
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

Answers = list[dict[str, Any]]
Fault = Callable[["FaultyRpc", web.Request, Answers], Awaitable[web.StreamResponse]]


class FaultyRpc:
    """Passes everything on while `fault` is None; `methods` are all that were asked for."""

    def __init__(self, url: str) -> None:
        self.fault: Fault | None = None
        self.methods: list[str] = []
        self._url = url
        self._healed = asyncio.Event()

    def heal(self) -> None:
        """Answer properly from now on; whoever waits for a slow answer is let go."""
        self.fault = None
        self._healed.set()

    async def wait_until_healed(self) -> None:
        self._healed.clear()
        await self._healed.wait()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        decoded = msgspec.json.decode(body)
        asked = decoded if isinstance(decoded, list) else [decoded]
        self.methods += [each["method"] for each in asked]
        if self.fault is not None:
            return await self.fault(self, request, asked)
        return web.Response(body=await self._ask(body), content_type="application/json")

    async def proper(self, asked: Answers) -> Answers:
        """The EVM's own answers."""
        answers: Answers = msgspec.json.decode(await self._ask(msgspec.json.encode(asked)))
        return answers

    async def _ask(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._url, data=body, headers=headers) as response,
        ):
            return await response.read()


def _json(answers: Answers) -> web.Response:
    content: Any = answers[0] if len(answers) == 1 else answers
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


async def down(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
    """The connection is closed without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def slow(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
    """No answer until the fault is over, and then a useless one."""
    await proxy.wait_until_healed()
    return web.Response(status=504)


async def html(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
    """A page instead of an answer, as from a captive portal."""
    return web.Response(text="<html>Please log in</html>", content_type="text/html")


async def throttled(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
    """Too many requests."""
    return web.Response(status=429, headers={"Retry-After": "1"})


async def wrong_id(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
    """Answers to questions that nobody asked."""
    answers = await proxy.proper(asked)
    return _json([each | {"id": each["id"] + 1_000_000} for each in answers])


async def half(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
    """The second half of the answers is missing; of one answer the bytes are."""
    answers = await proxy.proper(asked)
    body = msgspec.json.encode(answers[: len(answers) // 2] if len(answers) > 1 else answers[0])
    text = body if len(answers) > 1 else body[: len(body) // 2]
    return web.Response(body=text, content_type="application/json")


async def internal_error(
    proxy: FaultyRpc, request: web.Request, asked: Answers
) -> web.StreamResponse:
    """JSON-RPC's own code for a server that cannot answer just now."""
    error = {"code": -32603, "message": "Internal error"}
    return _json([{"jsonrpc": "2.0", "id": each["id"], "error": error} for each in asked])


async def nothing(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
    """Every result is null."""
    return _json([{"jsonrpc": "2.0", "id": each["id"], "result": None} for each in asked])


def other_chain(chain_id: int) -> Fault:
    """The chain is another one, which is otherwise alike."""

    async def fault(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
        answers = await proxy.proper(asked)
        for question, answer in zip(asked, answers, strict=True):
            if question["method"] == "eth_chainId":
                answer["result"] = hex(chain_id)
        return _json(answers)

    return fault
