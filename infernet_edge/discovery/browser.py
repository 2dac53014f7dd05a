"""Finds the nodes of a network: asks all, and collects what is answered in some seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final, TypeVar

from infernet_edge.discovery.messages import (
    AAAA,
    ANY,
    PTR,
    SRV,
    TXT,
    A,
    Address,
    DnsMessage,
    DnsRecord,
    Name,
    Question,
    Srv,
    folded,
    read_texts,
)
from infernet_edge.discovery.service import SERVICE, FoundNode, found_node
from infernet_edge.discovery.sockets import MulticastSocket, SocketSet, Source

MAX_FOUND: Final = 64
"""Nodes that are found at once."""

_Value = TypeVar("_Value")

_REPEAT = 1.0  # seconds until the question is repeated (RFC 6762, 5.2)
_DETAILS = 0.4  # seconds until what is missing of an answer is asked for
_MAX_ADDRESSES = 4  # of one node
_MAX_HOSTS = 2 * MAX_FOUND  # whose addresses are kept
_MAX_KNOWN = 16  # answers that a repeated question lists


class Collector:
    """What the answers say.

    An address counts when the answer came from it, or, for IPv6, when it needs no router: so no
    host of the internet, and none of another sender, can be announced as a node.
    """

    def __init__(self) -> None:
        self._names: dict[Name, Name] = {}
        self._services: dict[Name, Srv] = {}
        self._texts: dict[Name, dict[str, str]] = {}
        self._addresses: dict[Name, dict[Address, None]] = {}

    def received(self, socket: MulticastSocket, message: DnsMessage, source: Source) -> None:
        """Take in a response."""
        if message.response:
            for record in (*message.answers, *message.additional):
                self._take(record, socket, source)

    def found(self, own: set[Address]) -> list[FoundNode]:
        """The nodes of which all is known; `own` are the addresses of this machine."""
        return [
            found_node(
                self._names[name],
                srv,
                self._texts.get(name, {}),
                self._addresses.get(folded(srv.host), {}),
                own,
            )
            for name, srv in self._services.items()
            if name in self._names
        ]

    def known(self) -> list[DnsRecord]:
        """Answers that need not be given again."""
        names = list(self._names.values())[:_MAX_KNOWN]
        return [
            DnsRecord(SERVICE, PTR, name, 4500) for name in names if folded(name) in self._services
        ]

    def missing(self) -> Iterator[Question]:
        """What has to be asked for to know all of what was found."""
        for name, shown in self._names.items():
            srv = self._services.get(name)
            if srv is None or name not in self._texts:
                yield Question(shown, ANY)
            elif not self._addresses.get(folded(srv.host)):
                yield Question(srv.host, A)
                yield Question(srv.host, AAAA)

    def _take(self, record: DnsRecord, socket: MulticastSocket, source: Source) -> None:
        name, data = folded(record.name), record.data
        if record.kind == PTR and name == SERVICE and isinstance(data, tuple):
            if len(data) != len(SERVICE) + 1 or folded(data)[1:] != SERVICE:
                return
            if not record.ttl:
                self._names.pop(folded(data), None)
            elif len(self._names) < MAX_FOUND:
                self._names[folded(data)] = data
        elif not record.ttl or (record.kind in (SRV, TXT) and name[1:] != SERVICE):
            return
        elif isinstance(data, Srv):
            if data.port:
                _put(self._services, name, data)
        elif record.kind == TXT and isinstance(data, bytes):
            _put(self._texts, name, read_texts(data))
        elif isinstance(data, Address) and _is_of_sender(data, socket, source):
            _put(self._addresses, name, self._addresses.get(name, {}))
            addresses = self._addresses.get(name, {})
            if len(addresses) < _MAX_ADDRESSES:
                addresses[data] = None


def _put(found: dict[Name, _Value], name: Name, value: _Value) -> None:
    """Keep a value, within the bound."""
    if name in found or len(found) < _MAX_HOSTS:
        found[name] = value


def _is_of_sender(address: Address, socket: MulticastSocket, source: Source) -> bool:
    if address.version == 4:
        return address == source.address
    unusable = address.is_link_local or address.is_multicast or address.is_loopback
    return not unusable and socket.link.contains(address)


async def browse(sockets: SocketSet, seconds: float) -> Collector:
    """Ask for nodes in all networks, and wait for answers so many seconds."""
    collector = Collector()
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    with sockets.listening_to_all(collector.received):
        repeat, details = loop.time(), loop.time() + _DETAILS
        pause = _REPEAT
        while (now := loop.time()) < end:
            if now >= repeat:
                everyone = [Question(SERVICE, PTR)]
                sockets.send(DnsMessage(False, everyone, answers=collector.known()))
                repeat, pause = now + pause, pause * 2
            if now >= details:
                for question in collector.missing():
                    sockets.send(DnsMessage(False, [question]))
                details = now + _REPEAT
            await asyncio.sleep(max(0.01, min(repeat, details, end) - now))
    return collector
