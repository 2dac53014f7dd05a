"""A whole node inside the test's own event loop.

async with running(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as node:
    reply = await node.post("/api/jobs", {"containers": ["echo"], "data": {}})
    result = await node.finished(reply.body["id"])
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
from multidict import CIMultiDictProxy

from infernet_edge.api.parts import Parts
from infernet_edge.config.loading import build
from infernet_edge.config.model import Config
from infernet_edge.node import Node


class Reply(NamedTuple):
    """A response; `body` is its decoded JSON, or its bytes when it is a stream or no JSON."""

    status: int
    headers: CIMultiDictProxy[str]
    body: Any


class RunningNode:
    """A node, and a client of it."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self.node = node
        self.session = session
        self.url = node.url

    @property
    def parts(self) -> Parts:
        assert self.node.parts is not None
        return self.node.parts

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request; a body that is not bytes is sent as JSON."""
        sent = dict(headers or {})
        content: io.BytesIO | None = None
        if body is not None:
            text = body if isinstance(body, bytes) else msgspec.json.encode(body)
            content = io.BytesIO(text)  # aiohttp warns of long bytes
            sent.setdefault("content-type", "application/json")
        async with self.session.request(
            method, self.url + path, data=content, headers=sent, allow_redirects=False
        ) as response:
            answer: Any = await response.read()
            streamed = response.status == 200 and path.endswith("/stream")
            if response.content_type == "application/json" and answer and not streamed:
                answer = msgspec.json.decode(answer)
            return Reply(response.status, response.headers, answer)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.request("GET", path, headers=headers)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.request("POST", path, body, headers)

    async def put(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.request("PUT", path, body, headers)

    async def job(
        self,
        containers: Sequence[str] = ("echo",),
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Create a job and return its id."""
        body = {"containers": list(containers), "data": dict(data or {})}
        reply = await self.post("/api/jobs", body, headers)
        assert reply.status == 200, reply
        return str(reply.body["id"])

    async def result(
        self, identifier: str, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """What GET /api/jobs says of a job now, with the intermediate results."""
        reply = await self.get(f"/api/jobs?id={identifier}&intermediate=true", headers)
        assert reply.status == 200, reply
        (found,) = reply.body
        return dict(found)

    async def finished(
        self, identifier: str, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> dict[str, Any]:
        """Wait for the end of a job and return its result."""
        async with asyncio.timeout(timeout):
            while True:
                found = await self.result(identifier, headers)
                if found["status"] != "running":
                    return found
                await asyncio.sleep(0.01)


def configuration(folder: Path, document: Mapping[str, Any] | None = None) -> Config:
    """A configuration that suits a test, with `document` laid over it: any free port of 127.0.0.1,
    no rate limit, data in `folder`, no watch on free disk space, containers not managed."""
    laid = dict(document or {})
    server = {"host": "127.0.0.1", "port": 0, "rate_limit": {"num_requests": 0}}
    storage = {"path": str(folder / "data"), "min_free_bytes": 0}
    laid["server"] = server | laid.get("server", {})
    laid["storage"] = storage | laid.get("storage", {})
    laid.setdefault("manage_containers", False)
    config, _ = build(laid, "the test's configuration", {})
    return config


@asynccontextmanager
async def running(
    folder: Path, document: Mapping[str, Any] | None = None
) -> AsyncIterator[RunningNode]:
    """Run a node within the block; gives it once its containers are ready or known to be down."""
    node = Node(configuration(folder, document))
    await node.start()
    try:
        await node.wait_until_ready(5)
        async with aiohttp.ClientSession() as session:
            yield RunningNode(node, session)
    finally:
        await node.stop()
