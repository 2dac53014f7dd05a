"""A client of a running node with the permissions of an operator: it uses the control socket.

async with operator(node) as client:
    reply = await client.post("/api/containers/echo/restart", None)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.running import RunningNode


@asynccontextmanager
async def operator(node: RunningNode) -> AsyncIterator[RunningNode]:
    socket = node.parts.config.storage_path / "control.sock"
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        client = RunningNode(node.node, session)
        client.url = "http://node"
        yield client


def managed(podman: IsolatedPodman, *containers: dict[str, Any]) -> dict[str, Any]:
    """A configuration whose containers this Podman runs, each on a free port."""
    return {
        "manage_containers": True,
        "podman": {"url": podman.url},
        "startup_wait": 20,
        "containers": [{"port": free_port(), **each} for each in containers],
    }


async def item(node: RunningNode, container: str = "echo") -> dict[str, Any]:
    """What GET /api/containers says of a container."""
    reply = await node.get("/api/containers")
    assert reply.status == 200, reply
    (found,) = [each for each in reply.body["items"] if each["id"] == container]
    return dict(found)
