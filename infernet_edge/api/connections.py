"""The slots of connections: how many there are, their clients, and which are closed for others."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable

from infernet_edge.api.protocol import LanProtocol
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_GRACE = 0.25  # seconds for a new connection to start to send, before it may be replaced
_BLOCKED = (
    1.0  # seconds without progress of an answer, after which it may be closed for another one
)


class Slot:
    """One connection, from its accept on.

    `client` is the address that it counts for; "" for one without a limit of its own.
    """

    __slots__ = ("client", "making", "protocol", "since")

    def __init__(self, client: str) -> None:
        self.client = client
        self.since = asyncio.get_running_loop().time()
        self.making: asyncio.Task[None] | None = None
        self.protocol: LanProtocol | None = None

    @property
    def waiting_since(self) -> float | None:
        """The loop time since which the node waits for the client; None while the client waits."""
        if self.making is not None or self.protocol is None:
            return self.since
        return self.protocol.waiting_since

    @property
    def is_replaceable(self) -> bool:
        """Whether it may be closed for another one: it is idle, or its client does not send."""
        if self.protocol is not None and self.protocol.is_idle:
            return True
        waiting = self.waiting_since
        now = asyncio.get_running_loop().time()
        return waiting is not None and now - waiting >= _GRACE

    def close(self) -> None:
        """End the connection at once."""
        if self.making is not None and self.making.cancel():
            return
        # It is made, even if that is not noted yet; without a transport, its handshake failed.
        if self.protocol is not None and self.protocol.transport is not None:
            self.protocol.transport.abort()


class Connections:
    """All slots: at most `limit`, and for each client at most `max_per_client`.

    Clients on this machine and trusted proxies have no limit of their own.
    """

    def __init__(self, limit: int, max_per_client: int, trusted_proxies: Iterable[str]) -> None:
        self.limit = limit
        self._slots: dict[Slot, None] = {}
        self._by_client: dict[str, dict[Slot, None]] = {}
        self.apply(max_per_client, trusted_proxies)

    def apply(self, max_per_client: int, trusted_proxies: Iterable[str]) -> None:
        """Use these settings for new connections."""
        self._max_per_client = max_per_client
        self._trusted = [ipaddress.ip_network(text, strict=False) for text in trusted_proxies]

    @property
    def count(self) -> int:
        """How many slots are in use."""
        return len(self._slots)

    @property
    def is_full(self) -> bool:
        """Whether all slots are in use."""
        return len(self._slots) >= self.limit

    def can_admit(self) -> bool:
        """Whether a slot is free, or can be freed, for one more connection."""
        return not self.is_full or _longest_waiting(self._slots) is not None

    def admit(self, address: str) -> Slot | None:
        """A slot for a new connection; None when there is none.

        Where all are in use, the connection is closed for whose client the node has waited
        longest: of the same client, when it has too many, else of all. A connection whose client
        waits for an answer is never closed for another one.
        """
        client = self._client(address)
        own = self._by_client.get(client, {})
        max_own = min(self._max_per_client, max(1, self.limit // 2))
        if client and len(own) >= max_own and not self._free_one(own):
            log_event(logger, "connection.refused", logging.DEBUG, client=client)
            return None
        if self.is_full and not self._free_one(self._slots):
            return None
        slot = Slot(client)
        self._slots[slot] = None
        if client:
            self._by_client.setdefault(client, {})[slot] = None
        return slot

    def release(self, slot: Slot) -> None:
        """Free the slot of a connection that has ended; may be called twice."""
        self._slots.pop(slot, None)
        own = self._by_client.get(slot.client)
        if own is not None:
            own.pop(slot, None)
            if not own:
                del self._by_client[slot.client]

    def close_stuck(self, before: float) -> None:
        """Close stuck connections for which the node has waited since before a loop time."""
        for slot in list(self._slots):
            protocol = slot.protocol
            if slot.making is not None or protocol is None:
                continue  # a TLS handshake has its own timeout
            protocol.check_progress()
            waiting = protocol.waiting_since
            if waiting is not None and waiting < before and protocol.is_stuck:
                log_event(logger, "connection.dropped", logging.DEBUG, client=slot.client)
                slot.close()

    def close_blocked(self) -> bool:
        """Close the connection whose answer has made no progress for the longest time.

        Returns whether there was one.
        """
        before = asyncio.get_running_loop().time() - _BLOCKED
        found, earliest = None, before
        for slot in self._slots:
            blocked = slot.protocol.blocked_since if slot.protocol is not None else None
            if blocked is not None and blocked < earliest:
                found, earliest = slot, blocked
        if found is None:
            return False
        log_event(logger, "connection.replaced", logging.DEBUG, client=found.client)
        found.close()
        return True

    def _free_one(self, slots: Iterable[Slot]) -> bool:
        slot = _longest_waiting(slots)
        if slot is None:
            return False
        log_event(logger, "connection.replaced", logging.DEBUG, client=slot.client)
        self.release(slot)
        slot.close()
        return True

    def _client(self, address: str) -> str:
        """The client that a connection from an address counts for; "" without a limit."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return address
        if isinstance(parsed, ipaddress.IPv6Address):
            parsed = parsed.ipv4_mapped or parsed
        return "" if parsed.is_loopback or self._is_trusted(parsed) else str(parsed)

    def _is_trusted(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(
            address in network for network in self._trusted if network.version == address.version
        )


def _longest_waiting(slots: Iterable[Slot]) -> Slot | None:
    """The replaceable slot for whose client the node has waited longest; None: there is none."""
    found, earliest = None, float("inf")
    for slot in slots:
        waiting = slot.waiting_since
        if waiting is not None and waiting < earliest and slot.is_replaceable:
            found, earliest = slot, waiting
    return found
