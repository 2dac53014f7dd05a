"""Discovery as one part of the node. What it needs is imported when it is started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from infernet_edge.config.model import Config
from infernet_edge.discovery.forms import NodeList
from infernet_edge.discovery.permission import host_name, why_off
from infernet_edge.tasks import Background

if TYPE_CHECKING:
    from infernet_edge.discovery.announcer import Announcer
    from infernet_edge.discovery.nodes import NodeDirectory
    from infernet_edge.discovery.service import Description

_TASK = "discovery"


class NodeDiscovery:
    """Announces this node and knows the others, as far as the configuration allows."""

    def __init__(
        self,
        config: Config,
        version: str,
        services: Mapping[str, object],
        is_open: Callable[[], bool],
        background: Background,
    ) -> None:
        """`services` are those of the containers, by id, as they are at any time; `is_open` says
        whether the node has no tokens.
        """
        self._config = config
        self._version = version
        self._services = services
        self._is_open = is_open
        self._background = background
        self._off = "the node does not run yet"
        self._announcer: Announcer | None = None
        self._directory: NodeDirectory | None = None

    async def start(self, bound: tuple[str, bool] | None, port: int) -> None:
        """Announce the node, once it answers at its port.

        `bound` is the address of its socket, and whether that accepts both versions of IP.
        """
        config = self._config.discovery
        self._off = why_off(config, bound)
        if self._off and not config.nodes:
            return
        from infernet_edge.discovery.nodes import NodeDirectory

        if not self._off and bound is not None:
            self._announcer = await self._make_announcer(bound, port)
            self._background.supervise(_TASK, self._announcer.run)
        self._directory = NodeDirectory(self._announcer, config.nodes, self._off)

    async def read(self) -> NodeList:
        """The other nodes that this one finds or is given."""
        if self._directory is None:
            return NodeList([], self._off)
        return await self._directory.read()

    async def stop(self) -> None:
        """Withdraw the node, and stop looking for others."""
        if self._directory is not None:
            await self._directory.close()
        await self._background.stop(_TASK)

    def report(self) -> dict[str, Any] | None:
        """What `infernet-edge status` shows: its name for others, null as long as it has none."""
        if self._announcer is None:
            return None
        responder = self._announcer.responder
        name = responder.name if responder.announced else None
        return {"name": name, "problem": self._announcer.problem}

    async def _make_announcer(self, bound: tuple[str, bool], port: int) -> Announcer:
        from infernet_edge.discovery.announcer import Announcer
        from infernet_edge.discovery.identity import node_id
        from infernet_edge.discovery.service import Description
        from infernet_edge.hardware.network import links

        config = self._config
        identifier = await asyncio.to_thread(node_id, config.storage_path)
        secure = config.server.tls is not None

        def describe() -> Description:
            protected = not self._is_open()
            # With tokens, /info says the rest to those who may know it.
            shown = [] if protected else list(self._services)
            return Description(identifier, self._version, port, secure, protected, shown)

        address, both = bound
        name = config.discovery.name or host_name()
        return Announcer(name, describe, lambda: links(address, both=both))
