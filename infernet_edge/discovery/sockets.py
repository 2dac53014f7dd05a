"""The sockets of mDNS: one for each network and version of IP, with port 5353 and its group.

Each is bound to the group's address and not to all addresses. So it receives what is sent to the
group in its network and nothing else: packets that other machines send to this one alone stay with
the program that had the port first, such as avahi-daemon, and no host outside of the network can
reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from infernet_edge.discovery.messages import (
    MAX_PACKET,
    Address,
    DnsMessage,
    MalformedMessage,
    read_message,
    write_message,
)
from infernet_edge.hardware.network import Link

PORT: Final = 5353

MAX_LINKS: Final = 8
"""Networks that are used; a machine of a home network has one or two."""

MAX_PACKETS_PER_SECOND: Final = 200
"""Packets of one network that are read in a second; the kernel drops more."""

_AT_ONCE = 20  # packets that are read before the rest of the node runs again
_GROUPS: Final = {socket.AF_INET: "224.0.0.251", socket.AF_INET6: "ff02::fb"}
_MULTICAST_ALL = 49  # IP_MULTICAST_ALL of linux/in.h: not what other programs have joined
_HOPS = 255  # RFC 6762, 11
# A packet that has neither in it concerns no node. Names of other services have neither.
_MARKS: Final = (b"infernet", b"_services")


class Source(NamedTuple):
    """Who sent a packet."""

    address: Address
    port: int


Received = Callable[["MulticastSocket", DnsMessage, Source], None]


class MulticastSocket:
    """Sends and receives in one network; raises OSError when it cannot be opened."""

    def __init__(self, link: Link, family: socket.AddressFamily, received: Received) -> None:
        self.link = link
        self.family = family
        self.heard = False  # a packet arrived, at least one of its own
        self.failure: OSError | None = None  # of the last packet that was sent
        self.everything = 0  # how many want all packets, also those of other services
        self._received = received
        self._left = MAX_PACKETS_PER_SECOND
        self._since = 0.0
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._socket = _open(link, family)
        self._loop.add_reader(self._socket, self._read)

    def send(self, message: DnsMessage, to: Source | None = None) -> None:
        """Send a message to the group, or to one host. An error is kept in `failure`."""
        packet = write_message(message)
        if to is None:
            target: tuple[object, ...] = (_GROUPS[self.family], PORT)
        else:
            target = (str(to.address), to.port)
        if self.family == socket.AF_INET6:
            target = (*target, 0, self.link.number)
        try:
            self._socket.sendto(packet, target)
        except BlockingIOError:
            return  # the next one tries again
        except OSError as error:
            self.failure = error
        else:
            self.failure = None

    def close(self) -> None:
        """Leave the network."""
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        now = self._loop.time()
        if now - self._since >= 1:
            self._since, self._left = now, MAX_PACKETS_PER_SECOND
        for _ in range(min(_AT_ONCE, self._left)):
            try:
                packet, address = self._socket.recvfrom(MAX_PACKET + 1)
            except BlockingIOError:
                return
            except OSError:  # an error that the network reported, such as a device that is down
                return
            self._left -= 1
            self.heard = True
            self._handle(packet, address)
        if self._left <= 0:
            self._loop.remove_reader(self._socket)
            self._resume = self._loop.call_later(1.0, self._read_on)

    def _read_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._socket, self._read)

    def _handle(self, packet: bytes, address: tuple[str, int]) -> None:
        if not self.everything:
            lower = packet.lower()
            if not any(mark in lower for mark in _MARKS):
                return
        source = Source(ipaddress.ip_address(address[0].partition("%")[0]), address[1])
        if not self.link.contains(source.address):
            return  # RFC 6762, 11: only those of the network itself
        try:
            message = read_message(packet)
        except MalformedMessage:
            return
        if message.response and source.port != PORT:
            return  # RFC 6762, 6
        self._received(self, message, source)


def _open(link: Link, family: socket.AddressFamily) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        # Other programs of this machine may have the port, too.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        group = socket.inet_pton(family, _GROUPS[family])
        if family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_IP, _MULTICAST_ALL, 0)
            opened.bind((_GROUPS[family], PORT))
            joined = struct.pack("@4s4si", group, bytes(4), link.number)  # ip_mreqn of ip(7)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, joined)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((_GROUPS[family], PORT, 0, link.number))
            joined = struct.pack("@16sI", group, link.number)  # ipv6_mreq of ipv6(7)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.number)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    except BaseException:
        opened.close()
        raise
    return opened


class SocketSet:
    """The sockets of all networks; they are opened and closed as networks come and go."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[str, int, socket.AddressFamily], MulticastSocket] = {}
        self._listeners: list[Received] = []

    def __iter__(self) -> Iterator[MulticastSocket]:
        return iter(tuple(self._sockets.values()))

    def listen(self, received: Received) -> None:
        """Call this for each message that concerns nodes."""
        self._listeners.append(received)

    @contextlib.contextmanager
    def listening_to_all(self, received: Received) -> Iterator[None]:
        """Within the block call this for every message, also one about other services."""
        self._listeners.append(received)
        for each in self:
            each.everything += 1
        try:
            yield
        finally:
            self._listeners.remove(received)
            for each in self:
                each.everything = max(0, each.everything - 1)

    def update(self, links: Iterable[Link]) -> tuple[bool, list[str]]:
        """Open and close sockets so that they are those of these networks.

        Returns whether anything changed, and a text for each socket that could not be opened.
        Where there is IPv4, IPv6 does not matter: its addresses may not be ready yet.
        """
        wanted = {
            (link.name, link.number, family): link
            for link in list(links)[:MAX_LINKS]
            for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6))
            if any(network.version == version for network in link.networks)
        }
        changed, problems = False, []
        for key, opened in list(self._sockets.items()):
            if key not in wanted or opened.link.addresses != wanted[key].addresses:
                opened.close()
                del self._sockets[key]
                changed = True
            else:
                opened.link = wanted[key]
        for key, link in wanted.items():
            if key not in self._sockets:
                try:
                    self._sockets[key] = MulticastSocket(link, key[2], self._pass_on)
                except OSError as error:
                    if _matters(link, key[2]):
                        problems.append(f"{link.name}: {_reason(error)}")
                else:
                    changed = True
        return changed, problems

    def send(self, message: DnsMessage) -> None:
        """Send a message in all networks."""
        for each in self:
            each.send(message)

    @property
    def failures(self) -> list[str]:
        """A text for each network in which the last packet could not be sent."""
        return [
            f"{each.link.name}: {_reason(each.failure)}"
            for each in self
            if each.failure is not None and _matters(each.link, each.family)
        ]

    @property
    def deaf(self) -> list[str]:
        """The networks in which not even the own packets arrived."""
        heard = {each.link.name for each in self if each.heard}
        return sorted({each.link.name for each in self} - heard)

    def close(self) -> None:
        """Close all."""
        for each in self:
            each.close()
        self._sockets.clear()

    def _pass_on(self, where: MulticastSocket, message: DnsMessage, source: Source) -> None:
        for received in tuple(self._listeners):
            received(where, message, source)


def _matters(link: Link, family: socket.AddressFamily) -> bool:
    """Whether nodes are found by this version of IP: IPv4, or IPv6 where there is no other."""
    return family == socket.AF_INET or all(network.version == 6 for network in link.networks)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"a program that does not share it has UDP port {PORT}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"a firewall or a sandbox refuses UDP port {PORT}"
    return os.strerror(error.errno) if error.errno else str(error)
