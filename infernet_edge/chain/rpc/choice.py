"""Which of several servers is used, and when the client changes to another one and back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from infernet_edge.backoff import Backoff
from infernet_edge.chain.rpc.errors import Call, EndpointFailure, RpcError
from infernet_edge.chain.rpc.server import RpcServer
from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_DELAY = 2.0  # seconds that calls wait for the server in use, while another one works
_FIRST_COMPARISON = 5.0  # seconds after the first block is known
_COMPARISON_PERIOD = 300.0  # seconds between comparisons of heads that move
_FIRST_PAUSE = 5.0  # seconds between comparisons while the head stands still; doubles
_LAST_PAUSE = 60.0
_PROBE: Final[list[Call]] = [("eth_syncing", []), ("eth_getBlockByNumber", ["latest", False])]


class ServerChoice:
    """The servers in the order of preference, and the one in use.

    `lost` is why no server answers, "" when one does. The others are checked every `return_after`
    seconds while the first one is not in use.
    """

    def __init__(self, servers: Sequence[RpcServer], return_after: float) -> None:
        self.servers = servers
        self.lost = ""
        self._current = 0
        self._return_after = return_after
        self._lost_at = 0.0
        self._compared_at: float | None = None
        self._still_pause = 0.0
        self._still_pauses = Backoff(_FIRST_PAUSE, _LAST_PAUSE)
        self._returning: asyncio.Task[None] | None = None
        self._comparing: asyncio.Task[None] | None = None

    @property
    def in_use(self) -> RpcServer | None:
        """The server in use; None when there is none at all."""
        return self.servers[self._current] if self.servers else None

    def in_order(self) -> list[RpcServer]:
        """The servers to ask now: the one in use, then the others in the order of preference.

        Those that fail are left out; those whose head does not move come last.
        """
        usable = [
            n
            for n, server in enumerate(self.servers)
            if server.health.pause == 0 and not server.is_blocked
        ]
        usable.sort(
            key=lambda n: (
                bool(self.servers[n].avoided),
                self.servers[n].delay > _DELAY,
                n != self._current,
                n,
            )
        )
        return [self.servers[n] for n in usable]

    def note_answer(self, server: RpcServer, *, switch: bool) -> None:
        """A server has answered; with `switch` it is used from now on."""
        if self.lost:
            lost = round(time.monotonic() - self._lost_at, 1)
            self.lost = ""
            log_event(logger, "rpc.recovered", server=server.name, after_seconds=lost)
        if switch:
            self._use(server)
        if server is self.in_use:
            self._note_head(server)

    def note_lost(self, reason: str) -> None:
        """No server answers."""
        if not self.lost:
            self._lost_at = time.monotonic()
            log_event(logger, "rpc.lost", logging.WARNING, reason=reason)
        self.lost = reason

    def avoid(self, server: RpcServer, reason: str) -> None:
        """Use another server, as long as one answers, until this one is as up to date."""
        server.avoided = reason
        self._check_return()

    async def close(self) -> None:
        """Stop checking servers; may be called twice."""
        await cancel(*(task for task in (self._returning, self._comparing) if task is not None))

    def _use(self, server: RpcServer) -> None:
        position, before = self.servers.index(server), self.servers[self._current]
        if position == self._current:
            return
        log_event(
            logger,
            "rpc.switched",
            logging.WARNING if position > self._current else logging.INFO,
            server=server.name,
            before=before.name,
            reason=before.health.reason or before.avoided or "it is preferred",
        )
        self._current = position
        self._check_return()

    # Back to a preferred server

    def _check_return(self) -> None:
        if self._must_check and (self._returning is None or self._returning.done()):
            self._returning = asyncio.create_task(self._return(), name="rpc-return")

    @property
    def _must_check(self) -> bool:
        return self._current > 0 or any(server.avoided for server in self.servers)

    async def _return(self) -> None:
        """Check the preferred servers, and those that are avoided, until none is left."""
        while self._must_check:
            await asyncio.sleep(self._return_after)
            for position, server in enumerate(self.servers):
                if position >= self._current and not server.avoided:
                    continue
                if await self._is_up_to_date(server):
                    server.avoided = ""
                    if position < self._current:
                        self.note_answer(server, switch=True)

    async def _is_up_to_date(self, server: RpcServer) -> bool:
        """Whether it answers, does not say that it is syncing, and knows the newest block."""
        syncing = await self._probe(server)
        if not (syncing is False or isinstance(syncing, RpcError)):
            return False
        return all(
            server.heads.has_reached(other.heads)
            for other in self.servers
            if other is self.in_use and other is not server and not other.avoided
        )

    @staticmethod
    async def _probe(server: RpcServer) -> Any:
        """What it says to eth_syncing, None without an answer; its head is noted as well."""
        try:
            syncing, _ = await server.answers(_PROBE)
        except EndpointFailure:
            return None
        return syncing

    # Servers that answer, and know nothing new

    def _note_head(self, server: RpcServer) -> None:
        """Compare the heads of the servers now and then, and when that in use stands still."""
        if len(self.servers) == 1 or server.heads.head is None:
            return
        now = time.monotonic()
        if self._compared_at is None:
            self._compared_at = now - _COMPARISON_PERIOD + _FIRST_COMPARISON
        period = self._still_pause
        if not server.heads.stands_still:
            self._still_pauses.reset()
            self._still_pause = 0.0
            period = _COMPARISON_PERIOD
        comparing = self._comparing is not None and not self._comparing.done()
        if now - self._compared_at >= period and not comparing:
            self._comparing = asyncio.create_task(self._compare(server), name="rpc-compare")

    async def _compare(self, server: RpcServer) -> None:
        """Use another server when its head is ahead of that of the one in use."""
        others = [each for each in self.servers if each is not server and self._works(each)]
        await asyncio.gather(*(self._probe(each) for each in (server, *others)))
        self._compared_at = time.monotonic()
        self._still_pause = self._still_pauses.next()
        ahead = next((each for each in others if server.heads.is_behind(each.heads)), None)
        if ahead is None or server is not self.in_use:
            return
        own, its = server.heads.head, ahead.heads.head
        if own is not None and its is not None:
            reason = f"its head stays at block {own.number}, {ahead.name} is at {its.number}"
            self.avoid(server, reason)
            self.note_answer(ahead, switch=True)

    @staticmethod
    def _works(server: RpcServer) -> bool:
        return server.delay == 0 and not server.avoided
