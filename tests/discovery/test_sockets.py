"""The sockets of mDNS: what they hear, and what they leave to others."""

from __future__ import annotations

import asyncio
import socket

from infernet_edge.discovery.messages import PTR, DnsMessage, DnsRecord, Question
from infernet_edge.discovery.service import SERVICE
from infernet_edge.discovery.sockets import MAX_PACKETS_PER_SECOND, PORT, SocketSet, Source
from tests.support.mdns import link_to, querier
from tests.support.networks import SecondMachine

QUERY = DnsMessage(False, [Question(SERVICE, PTR)])


class Heard:
    """What arrived."""

    def __init__(self) -> None:
        self.messages: list[tuple[DnsMessage, Source]] = []

    def __call__(self, where: object, message: DnsMessage, source: Source) -> None:
        self.messages.append((message, source))


async def test_they_hear_what_concerns_nodes_and_themselves(other: SecondMachine) -> None:
    sockets, heard = SocketSet(), Heard()
    sockets.listen(heard)
    try:
        assert sockets.update([link_to(other)]) == (True, [])
        assert sockets.update([link_to(other)]) == (False, [])
        assert sockets.deaf == [other.device]
        with querier(other.here) as asking, querier(other.here, 0) as resolver:
            foreign = DnsMessage(False, [Question((b"_http", b"_tcp", b"local"), PTR)])
            response = DnsMessage(True, answers=[DnsRecord(SERVICE, PTR, SERVICE, 1)])
            asking.send(foreign)
            asking.send(b"infernet \xc0 not a message")
            resolver.send(response)  # not from port 5353
            asking.send(QUERY)
            await asyncio.sleep(0.2)
            assert [message.questions for message, _ in heard.messages] == [QUERY.questions]
            assert str(heard.messages[0][1].address) == other.here
            assert sockets.deaf == []
            heard.messages.clear()
            with sockets.listening_to_all(heard):
                asking.send(foreign)
                await asyncio.sleep(0.2)
            assert foreign.questions in [message.questions for message, _ in heard.messages]
    finally:
        sockets.close()


async def test_packets_for_this_host_alone_stay_with_the_program_that_had_the_port(
    other: SecondMachine,
) -> None:
    """avahi-daemon has port 5353 of all addresses; the newest socket would get its packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        daemon.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        daemon.setsockopt(socket.IPPROTO_IP, 49, 0)  # IP_MULTICAST_ALL: not what others joined
        daemon.bind(("0.0.0.0", PORT))
        daemon.settimeout(5)
        sockets, heard = SocketSet(), Heard()
        sockets.listen(heard)
        try:
            assert sockets.update([link_to(other)]) == (True, [])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"infernet", (other.here, PORT))
            assert await asyncio.to_thread(daemon.recv, 100) == b"infernet"
            assert not any(each.heard for each in sockets)
        finally:
            sockets.close()


async def test_a_flood_is_left_to_the_kernel(other: SecondMachine) -> None:
    sockets, heard = SocketSet(), Heard()
    sockets.listen(heard)
    try:
        sockets.update([link_to(other)])
        with querier(other.here) as flooding:
            for _ in range(2000):
                flooding.send(QUERY)
            await asyncio.sleep(0.5)
            assert MAX_PACKETS_PER_SECOND / 4 < len(heard.messages) <= MAX_PACKETS_PER_SECOND
            await asyncio.sleep(2)
            for _ in range(20):  # what waited is read, then it hears again
                heard.messages.clear()
                flooding.send(QUERY)
                await asyncio.sleep(0.5)
                if len(heard.messages) == 1:
                    break
            assert len(heard.messages) == 1
    finally:
        sockets.close()
