"""A stand-in for a server with OpenAI's API, in the test's event loop.

It answers in the forms of llama.cpp's server: with what it was asked as the text, and as a stream
of server-sent events; with 503 while `loading`. Requests are remembered.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}


class OpenAIServer:
    """`models` are listed; while `loading` is above 0, each request counts it down."""

    def __init__(self, *models: str, loading: int = 0) -> None:
        self.models = models
        self.loading = loading
        self.asked: list[tuple[str, bytes]] = []  # path and body of each POST
        self.probed: list[str] = []  # the path of each GET
        self.error: tuple[int, Any] | None = None
        self.headers: dict[str, str] = {}  # of an error
        self.left = 0  # clients that went away in the middle of a stream

    @property
    def request(self) -> dict[str, Any]:
        """The last request."""
        return dict(json.loads(self.asked[-1][1]))

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            self.probed.append(request.path)
        else:
            self.asked.append((request.path, await request.read()))
        if self.loading:
            self.loading -= 1
            return web.json_response(LOADING, status=503)
        if request.path.endswith("/models"):
            listed = [{"id": model, "object": "model"} for model in self.models]
            return web.json_response({"object": "list", "data": listed})
        if request.method == "GET":
            return web.json_response({"error": "no"}, status=404)
        if self.error is not None:
            status, body = self.error
            return web.json_response(body, status=status, headers=self.headers)
        asked = self.request
        if asked.get("stream") is True:
            return await self._stream(request)
        if request.path.endswith("/embeddings"):
            return web.json_response({"object": "list", "data": [{"embedding": [0.5, 1.0]}]})
        text = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
        message = {"role": "assistant", "content": text}
        return web.json_response({"choices": [{"index": 0, "text": text, "message": message}]})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for number in range(3):
                await response.write(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % number)
            if "hold" in self.request:
                await asyncio.sleep(60)
            await response.write(b"data: [DONE]\n\n")
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            raise
        return response
