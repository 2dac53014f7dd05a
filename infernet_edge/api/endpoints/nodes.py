"""GET /api/nodes: the other nodes that this one finds or is given."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from infernet_edge.api.json_io import Answer
from infernet_edge.discovery.discovery import NodeDiscovery


class NodesEndpoint:
    """The other nodes; asked for by this node, which sends them no token."""

    methods = ("GET", "HEAD")

    def __init__(self, discovery: NodeDiscovery) -> None:
        self._discovery = discovery

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Answer(await self._discovery.read())(scope, receive, send)
