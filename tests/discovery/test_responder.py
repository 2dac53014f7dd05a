"""The name of a node: probed, announced, defended, changed, withdrawn. In a real network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from infernet_edge.discovery.browser import browse
from infernet_edge.discovery.messages import (
    ANY,
    PTR,
    SRV,
    TXT,
    DnsMessage,
    DnsRecord,
    Name,
    Question,
    Srv,
    folded,
)
from infernet_edge.discovery.service import SERVICE, own_records
from tests.discovery.conftest import Announced
from tests.support.mdns import description, querier
from tests.support.networks import SecondMachine

NAME: Name = (b"pi-kitchen", *SERVICE)
FOREIGN: Name = (b"other-host", b"local")


def is_probe(message: DnsMessage) -> bool:
    return any(record.name == NAME for record in message.proposed)


def announces(name: Name) -> Callable[[DnsMessage], bool]:
    return lambda message: (
        message.response and any(record.data == name and record.ttl for record in message.answers)
    )


async def test_a_name_is_probed_three_times_then_announced_twice(
    other: SecondMachine, announced: Announced
) -> None:
    with querier(other.here) as listener:
        loop = asyncio.get_running_loop()
        async with announced(wait=False):
            times = []
            for _ in range(3):
                probe = await listener.receive(is_probe)
                assert probe is not None
                assert probe.questions[0].kind == ANY
                assert {record.kind for record in probe.proposed} == {SRV, 16}
                times.append(loop.time())
            first = await listener.receive(announces(NAME))
            assert first is not None
            assert loop.time() - times[0] >= 0.7
            assert [record.flush for record in first.answers if record.kind == SRV] == [True]
            start = loop.time()
            assert await listener.receive(announces(NAME)) is not None
            assert 0.8 < loop.time() - start < 2


async def test_a_name_that_somebody_has_is_not_taken(
    other: SecondMachine, announced: Announced
) -> None:
    """Somebody answers the probe; the same when two hosts have it after networks were joined."""
    answer = DnsMessage(True, answers=[DnsRecord(NAME, SRV, Srv(FOREIGN, 4000), 120, flush=True)])
    with querier(other.here) as holder:
        async with announced(wait=False) as announcer:
            assert await holder.receive(is_probe) is not None
            holder.send(answer)
            second: Name = (b"pi-kitchen (2)", *SERVICE)
            assert await holder.receive(announces(second), 5) is not None
            assert announcer.responder.name == "pi-kitchen (2)"


async def test_a_conflict_afterwards_is_settled_by_new_probes(
    other: SecondMachine, announced: Announced
) -> None:
    foreign = DnsRecord(NAME, SRV, Srv(FOREIGN, 4000), 120, flush=True)
    with querier(other.here) as holder:
        async with announced() as announcer:
            await asyncio.sleep(1.2)
            holder.drain()
            holder.send(DnsMessage(True, answers=[foreign]))
            # It defends its name, and keeps it: nobody answers its probes.
            assert await holder.receive(is_probe, 5) is not None
            assert await holder.receive(announces(NAME), 5) is not None
            assert announcer.responder.name == "pi-kitchen"


async def test_of_two_that_probe_at_once_the_later_records_win(
    other: SecondMachine, announced: Announced
) -> None:
    with querier(other.here) as rival:
        async with announced(wait=False) as announcer:
            first = await rival.receive(is_probe)
            assert first is not None
            loop = asyncio.get_running_loop()
            winning = DnsRecord(NAME, SRV, Srv(FOREIGN, 65535), 120)
            rival.send(DnsMessage(False, [Question(NAME, ANY)], proposed=[winning]))
            start = loop.time()
            # Had it gone on, the announcement would come half a second later.
            assert await rival.receive(announces(NAME), 5) is not None
            assert loop.time() - start > 1.5
            assert announcer.responder.name == "pi-kitchen"
    with querier(other.here) as rival:
        async with announced(wait=False):
            assert await rival.receive(is_probe) is not None
            losing = DnsRecord(NAME, TXT, b"\0", 120)
            rival.send(DnsMessage(False, [Question(NAME, ANY)], proposed=[losing]))
            start = loop.time()
            assert await rival.receive(announces(NAME), 5) is not None
            assert loop.time() - start < 1.5


async def test_two_nodes_of_one_machine_get_two_names(announced: Announced) -> None:
    async with announced() as first, announced() as second:
        assert first.responder.name == "pi-kitchen"
        assert second.responder.name == "pi-kitchen (2)"
        collector = await browse(second.sockets, 1.5)
        assert {node.name for node in collector.found(set())} == {"pi-kitchen", "pi-kitchen (2)"}


async def test_a_node_that_stops_says_goodbye(other: SecondMachine, announced: Announced) -> None:
    with querier(other.here) as listener:
        async with announced():
            pass
        goodbye = await listener.receive(
            lambda message: any(
                record.kind == PTR and record.data == NAME and record.ttl == 0
                for record in message.answers
            )
        )
        assert goodbye is not None
        assert all(record.ttl == 0 for record in goodbye.answers)


async def test_the_announcement_changes_with_the_node(
    other: SecondMachine, announced: Announced
) -> None:
    """As when the first token is made: the next query notices it."""
    described = [description()]
    with querier(other.here) as listener:
        async with announced(describe=lambda: described[0]):
            await asyncio.sleep(1.2)
            described[0] = description(protected=True)
            listener.drain()
            listener.send(DnsMessage(False, [Question(SERVICE, PTR)]))

            def is_new(message: DnsMessage) -> bool:
                return message.response and any(
                    isinstance(record.data, bytes) and b"auth=token" in record.data
                    for record in message.answers
                )

            assert await listener.receive(is_new, 5) is not None


def test_copies_of_a_disk_do_not_share_the_record_by_which_conflicts_are_seen() -> None:
    one, two = (own_records("x", (host, b"local"), description())[0] for host in (b"a", b"b"))
    assert folded(one.name) == folded(two.name)
    assert one.key != two.key
