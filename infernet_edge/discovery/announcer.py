"""Keeps this node announced in the networks that there are, until the node stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

from infernet_edge.backoff import Backoff
from infernet_edge.discovery.link_watch import LinkWatch
from infernet_edge.discovery.responder import Responder
from infernet_edge.discovery.service import Description
from infernet_edge.discovery.sockets import SocketSet
from infernet_edge.hardware.network import Link
from infernet_edge.logs import ConditionLog, log_event

logger = logging.getLogger(__name__)

_SETTLE = 1.0  # seconds for a change of the network, which has several steps
_RETRY: Final = 5.0  # seconds until what failed is tried again, at first
_MAX_RETRY: Final = 300.0  # seconds


class Announcer:
    """Opens the sockets, announces the node, and does both again after each change."""

    def __init__(
        self, name: str, describe: Callable[[], Description], find_links: Callable[[], list[Link]]
    ) -> None:
        """`find_links` is called in a thread."""
        self.sockets = SocketSet()
        self.problem = ""
        self._find_links = find_links
        self._changed = asyncio.Event()
        self._contested = False
        self._conditions = ConditionLog()
        self.responder = Responder(self.sockets, name, describe, self._on_conflict)

    async def run(self) -> None:
        """Work until it is cancelled."""
        watch = LinkWatch(self._changed.set)
        pauses = Backoff(_RETRY, _MAX_RETRY)
        try:
            watches = watch.open()
            while True:
                self._changed.clear()
                complete = await self._follow()
                if complete:
                    pauses.reset()
                # Without a problem nothing but a change can make a difference: no timer runs.
                pause = None if complete and watches else pauses.next()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
                await asyncio.sleep(_SETTLE)
        finally:
            watch.close()
            self.responder.goodbye()
            self.sockets.close()

    async def _follow(self) -> bool:
        """Use the networks that there are now; False when some of it has to be tried again."""
        links = await asyncio.to_thread(self._find_links)
        changed, problems = self.sockets.update(links)
        if any(self.sockets) and (changed or self._contested or not self.responder.announced):
            self._contested = False
            await self.responder.establish()
            problems += self.sockets.failures
        self._note(problems, links)
        return not problems

    def _note(self, problems: Sequence[str], links: Sequence[Link]) -> None:
        self.problem = "; ".join(problems)
        if not links:
            self.problem = "there is no network"
        elif not problems and (deaf := self.sockets.deaf):
            self.problem = (
                f"{', '.join(deaf)}: the node's own packets do not come back, so a firewall drops"
                " UDP port 5353"
            )
        if not self.problem:
            self._conditions.end("network")
        elif self._conditions.is_new("network", self.problem):
            log_event(logger, "discovery.limited", logging.WARNING, reason=self.problem)

    def _on_conflict(self) -> None:
        self._contested = True
        self._changed.set()
