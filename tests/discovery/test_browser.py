"""What is taken from the answers of a network."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from infernet_edge.discovery.browser import MAX_FOUND, Collector, browse
from infernet_edge.discovery.messages import (
    AAAA,
    PTR,
    SRV,
    TXT,
    A,
    DnsMessage,
    DnsRecord,
    Name,
    Srv,
    write_texts,
)
from infernet_edge.discovery.service import SERVICE
from infernet_edge.discovery.sockets import SocketSet, Source
from infernet_edge.hardware.network import Link
from tests.discovery.conftest import Announced
from tests.support.mdns import link_to, querier
from tests.support.networks import SecondMachine

NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/24", "fd00::/64", "fe80::/64")))
SOCKET: Any = SimpleNamespace(link=Link("eth0", 2, (), NETWORKS))
SENDER = Source(ipaddress.ip_address("10.0.0.7"), 5353)
HOST: Name = (b"infernet-1", b"local")


def announcement(
    label: bytes = b"pi", host: Name = HOST, addresses: Sequence[str] = (), port: int = 4000
) -> DnsMessage:
    name = (label, *SERVICE)
    found = [ipaddress.ip_address(text) for text in addresses]
    return DnsMessage(
        True,
        answers=[DnsRecord(SERVICE, PTR, name, 4500)],
        additional=[
            DnsRecord(name, SRV, Srv(host, port), 120),
            DnsRecord(name, TXT, write_texts(["id=1", "containers=a,b"]), 4500),
            *(DnsRecord(host, A if one.version == 4 else AAAA, one, 120) for one in found),
        ],
    )


def urls(*messages: DnsMessage, source: Source = SENDER) -> list[Sequence[str]]:
    collector = Collector()
    for message in messages:
        collector.received(SOCKET, message, source)
    return [node.urls for node in collector.found(set())]


@pytest.mark.parametrize(
    ("address", "is_used"),
    [
        ("10.0.0.7", True),
        ("10.0.0.8", False),  # another machine
        ("127.0.0.1", False),
        ("93.184.216.34", False),
        ("169.254.169.254", False),
        ("224.0.0.251", False),
        ("0.0.0.0", False),
        ("fd00::7", True),
        ("2606:2800:220:1::1", False),
        ("fd01::1", False),
        ("fe80::1", False),  # it has no meaning without the device
        ("::1", False),
        ("::", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_only_the_sender_can_be_announced(address: str, is_used: bool) -> None:
    assert bool(urls(announcement(addresses=[address]))[0]) is is_used


def test_what_is_not_of_a_node_is_ignored() -> None:
    foreign = (b"x", b"_http", b"_tcp", b"local")
    message = DnsMessage(
        True,
        answers=[
            DnsRecord(SERVICE, PTR, foreign, 4500),
            DnsRecord(SERVICE, PTR, (b"a", b"b", *SERVICE), 4500),
            DnsRecord((b"_http", b"_tcp", b"local"), PTR, foreign, 4500),
            DnsRecord(foreign, SRV, Srv(HOST, 80), 120),
        ],
    )
    assert urls(message) == []
    assert urls(announcement()._replace(response=False)) == []
    assert urls(announcement(port=0)) == []
    gone = DnsMessage(True, answers=[DnsRecord(SERVICE, PTR, (b"pi", *SERVICE), 0)])
    assert urls(announcement(addresses=["10.0.0.7"]), gone) == []


def test_a_flood_of_names_is_bounded() -> None:
    collector = Collector()
    for number in range(5000):
        text = str(number).encode()
        collector.received(SOCKET, announcement(text, (text, b"local"), ["10.0.0.7"]), SENDER)
    assert len(collector.found(set())) <= MAX_FOUND
    many = [f"fd00::{number:x}" for number in range(1, 100)]
    assert len(urls(announcement(addresses=many))[0]) == 4


async def test_details_that_are_missing_are_asked_for(other: SecondMachine) -> None:
    """Some programs answer a question with its answer alone."""
    sockets = SocketSet()
    sockets.update([link_to(other)])
    full = announcement(addresses=[other.here])
    pieces = [*full.answers, *full.additional]
    with querier(other.here) as node:

        async def answer() -> None:
            while True:
                asked = await node.receive(lambda message: not message.response, 10)
                assert asked is not None
                for question in asked.questions:
                    found = [each for each in pieces if each.name == question.name]
                    for each in found:
                        if question.kind in (each.kind, 255):
                            node.send(DnsMessage(True, answers=[each]))

        answering = asyncio.create_task(answer())
        try:
            collector = await browse(sockets, 2.5)
        finally:
            answering.cancel()
            sockets.close()
    [found] = collector.found(set())
    assert found.urls == [f"http://{other.here}:4000"]
    assert found.containers == ["a", "b"]


async def test_a_node_is_found(other: SecondMachine, announced: Announced) -> None:
    async with announced() as announcer:
        collector = await browse(announcer.sockets, 1.5)
        own = {ipaddress.ip_address(other.here)}
        [found] = collector.found(own)
        assert found.name == "pi-kitchen"
        assert found.host == announcer.responder.host
        assert found.urls == [f"http://{other.here}:4000"]
        assert found.identifier == "0123456789abcdef"
        assert found.on_this_machine
        assert not collector.found(set())[0].on_this_machine
