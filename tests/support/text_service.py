"""A stand-in for a container that speaks Infernet's interface and has a model.

It answers the request of an OpenAI client, its `data`, in the way that `answer` says.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web


class TextService:
    """`answer` is the JSON of a whole answer, `chunks` are those of a stream of type `kind`.

    A chunk None breaks off the connection; "wait" waits for `release()`. With `hold` each call
    waits for that.
    """

    def __init__(self, answer: Any = "Hello") -> None:
        self.answer = answer
        self.status = 200
        self.chunks: list[str | bytes | None] = ["Hel", "lo"]
        self.kind = "text/plain"
        self.hold = False
        self.calls: list[dict[str, Any]] = []
        self.left = 0  # callers that went away before the end
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let all calls go that wait."""
        self._released.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.json_response({}, status=404)
        call = json.loads(await request.read())
        self.calls.append(call)
        try:
            if self.hold:
                await self._released.wait()
            if call.get("destination") == 2 or call.get("stream"):
                return await self._stream(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            raise
        return web.json_response(self.answer, status=self.status)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            return web.json_response(self.answer, status=self.status)
        response = web.StreamResponse(headers={"content-type": self.kind})
        await response.prepare(request)
        for chunk in self.chunks:
            if chunk is None:
                assert request.transport is not None
                request.transport.abort()
                return response
            if chunk == "wait":
                await self._released.wait()
            else:
                await response.write(chunk if isinstance(chunk, bytes) else chunk.encode())
                await asyncio.sleep(0.01)
        await response.write_eof()
        return response
