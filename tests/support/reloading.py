"""A node that reads its configuration again from a file which a test changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from infernet_edge.config.loading import Loaded, load
from infernet_edge.node import Node
from tests.support.operating import operator
from tests.support.running import RunningNode


class Reloadable(RunningNode):
    """A node, and the document that it was started from."""

    document: dict[str, Any]
    file: Path
    echo: Any = None
    """The service that a test gives it."""

    async def reload(self, **changes: Any) -> dict[str, Any]:
        """Lay changes over the document, and reload; returns the report."""
        for key, value in changes.items():
            before = self.document.get(key)
            if isinstance(value, Mapping) and isinstance(before, Mapping):
                value = {**before, **value}
            self.document[key] = value
        self.file.write_text(json.dumps(self.document))
        return await self.post_reload()

    async def post_reload(self) -> dict[str, Any]:
        async with operator(self) as client:
            reply = await client.post("/api/reload", None)
        assert reply.status == 200, reply
        return dict(reply.body)


@asynccontextmanager
async def reloadable(folder: Path, document: Mapping[str, Any]) -> AsyncIterator[Reloadable]:
    """Run a node within the block, with settings that suit a test."""
    laid = {"manage_containers": False, "startup_wait": 5, **document}
    server = {"host": "127.0.0.1", "port": 0, "rate_limit": {"num_requests": 0}}
    laid["server"] = server | laid.get("server", {})
    laid["storage"] = {"path": str(folder / "data"), "min_free_bytes": 0} | laid.get("storage", {})
    file = folder / "config.json"
    file.write_text(json.dumps(laid))

    def load_again() -> Loaded:
        return load(file, {})

    node = Node(load_again().config, load=load_again)
    await node.start()
    try:
        await node.wait_until_ready(laid["startup_wait"])
        async with aiohttp.ClientSession() as session:
            running = Reloadable(node, session)
            running.document, running.file = laid, file
            yield running
    finally:
        await node.stop()
