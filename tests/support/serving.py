"""HTTP services inside the test's own event loop: one that echoes, and ones that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_MAX_BODY = 64 * 2**20


class Echo:
    """Answers each call with {"output": data, "by": path}, and remembers the calls.

    Wishes in `data`: {"status": 500} for that status, {"hold": true} to wait for `release()`,
    {"chunks": [...]} for a stream of these texts. Calls that are held count in `open`.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.open = 0
        self.most_open = 0
        self.left = 0  # callers that went away before the answer
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let all held calls go, and hold none from now on."""
        self._released.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.json_response({}, status=200 if request.path == "/health" else 404)
        call = await request.json()
        self.calls.append(call)
        self.headers.append(dict(request.headers))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self.answer(request, call["data"])
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.open -= 1

    async def answer(self, request: web.Request, data: Any) -> web.StreamResponse:
        wishes = data if isinstance(data, dict) else {}
        if wishes.get("hold"):
            await self._released.wait()
        if "chunks" in wishes:
            return await self._stream(request, wishes["chunks"])
        by = request.path.removesuffix("/service_output")
        return web.json_response({"output": data, "by": by}, status=wishes.get("status", 200))

    async def _stream(self, request: web.Request, chunks: list[str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/plain"})
        await response.prepare(request)
        for chunk in chunks:
            if chunk == "wait":
                await self._released.wait()
            else:
                await response.write(chunk.encode())
        await response.write_eof()
        return response


@asynccontextmanager
async def serving(handler: Handler, port: int = 0) -> AsyncIterator[str]:
    """Serve all paths with `handler`, on a free port by default; gives the base URL."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(
    talk: Talk, host: str = "127.0.0.1", socket_path: Path | None = None
) -> AsyncIterator[str]:
    """Serve connections with `talk`, which writes what no HTTP library would; gives the URL.

    At a Unix socket with `socket_path`; then the URL is only "http://localhost".
    """
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side has gone, or the test has ended
        finally:
            writer.close()
            tasks.discard(task)

    if socket_path is not None:
        server = await asyncio.start_unix_server(converse, socket_path)
        url = "http://localhost"
    else:
        server = await asyncio.start_server(converse, host, 0)
        named = f"[{host}]" if ":" in host else host
        url = f"http://{named}:{server.sockets[0].getsockname()[1]}"
    try:
        yield url
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request with a content-length, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head
