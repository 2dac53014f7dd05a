"""The places that connections take: how many there are, whose they are, and who has to go."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable

from infernet_edge.api.protocol import LanProtocol
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_GRACE = 0.25  # seconds in which a connection may begin to send; until then none takes its place
_BLOCKED = 1.0  # seconds for which a client has to take nothing of an answer, to be closed for it


class Place:
    """One connection, from its accept on.

    `client` names whose it is; "" for those that may have as many as there are.
    """

    __slots__ = ("client", "making", "protocol", "since")

    def __init__(self, client: str) -> None:
        self.client = client
        self.since = asyncio.get_running_loop().time()
        self.making: asyncio.Task[None] | None = None
        self.protocol: LanProtocol | None = None

    @property
    def owed_since(self) -> float | None:
        """Since when the client owes us something; None while it waits for us."""
        if self.making is not None or self.protocol is None:
            return self.since
        return self.protocol.owed_since

    @property
    def may_go(self) -> bool:
        """Whether it may be closed for another one: it is idle, or sends nothing for a while."""
        if self.protocol is not None and self.protocol.is_idle:
            return True
        owed = self.owed_since
        return owed is not None and asyncio.get_running_loop().time() - owed >= _GRACE

    def close(self) -> None:
        """End the connection at once."""
        if self.making is not None:
            self.making.cancel()
        elif self.protocol is not None:
            self.protocol.transport.abort()


class Connections:
    """All places: at most `most`, and of each client at most `most_per_client`.

    Clients on this machine and trusted proxies may have as many as there are.
    """

    def __init__(self, most: int, most_per_client: int, trusted_proxies: Iterable[str]) -> None:
        self.most = most
        self._of_each = most_per_client
        self._trusted = [ipaddress.ip_network(text, strict=False) for text in trusted_proxies]
        self._places: dict[Place, None] = {}
        self._by_client: dict[str, dict[Place, None]] = {}

    @property
    def count(self) -> int:
        """How many places are taken."""
        return len(self._places)

    @property
    def is_full(self) -> bool:
        """Whether all places are taken."""
        return len(self._places) >= self.most

    def may_come(self) -> bool:
        """Whether there is a place for one more, or one that can be freed for it."""
        return not self.is_full or _longest_owing(self._places) is not None

    def admit(self, address: str) -> Place | None:
        """A place for a new connection; None when there is none.

        Where all are taken, the connection that has owed us something the longest has to go: of
        the same client, when it has too many, else of all. One that waits for an answer stays.
        """
        client = self._client(address)
        own = self._by_client.get(client, {})
        of_each = min(self._of_each, max(1, self.most // 2))
        if client and len(own) >= of_each and not self._free_one(own):
            log_event(logger, "connection.refused", logging.DEBUG, client=client)
            return None
        if self.is_full and not self._free_one(self._places):
            return None
        place = Place(client)
        self._places[place] = None
        if client:
            self._by_client.setdefault(client, {})[place] = None
        return place

    def release(self, place: Place) -> None:
        """A connection has ended; may be called twice."""
        self._places.pop(place, None)
        own = self._by_client.get(place.client)
        if own is not None:
            own.pop(place, None)
            if not own:
                del self._by_client[place.client]

    def close_stuck(self, before: float) -> None:
        """Close connections that owe something since before a loop time, and get nowhere."""
        for place in list(self._places):
            protocol = place.protocol
            if place.making is not None or protocol is None:
                continue  # a handshake has a time limit of its own
            protocol.look()
            owed = protocol.owed_since
            if owed is not None and owed < before and protocol.is_stuck:
                log_event(logger, "connection.dropped", logging.DEBUG, client=place.client)
                place.close()

    def close_blocked(self) -> bool:
        """Close the connection whose client has taken nothing of its answer the longest.

        Returns whether there was one.
        """
        before = asyncio.get_running_loop().time() - _BLOCKED
        found, earliest = None, before
        for place in self._places:
            blocked = place.protocol.blocked_since if place.protocol is not None else None
            if blocked is not None and blocked < earliest:
                found, earliest = place, blocked
        if found is None:
            return False
        log_event(logger, "connection.replaced", logging.DEBUG, client=found.client)
        found.close()
        return True

    def _free_one(self, places: Iterable[Place]) -> bool:
        place = _longest_owing(places)
        if place is None:
            return False
        log_event(logger, "connection.replaced", logging.DEBUG, client=place.client)
        self.release(place)
        place.close()
        return True

    def _client(self, address: str) -> str:
        """What a connection from an address counts for."""
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


def _longest_owing(places: Iterable[Place]) -> Place | None:
    """The place whose client has owed us something the longest; None when none may go."""
    found, earliest = None, float("inf")
    for place in places:
        owed = place.owed_since
        if owed is not None and owed < earliest and place.may_go:
            found, earliest = place, owed
    return found
