"""Answers to queries, in a real network."""

from __future__ import annotations

import asyncio

from infernet_edge.discovery.messages import (
    AAAA,
    ANY,
    PTR,
    SRV,
    TXT,
    A,
    DnsMessage,
    DnsRecord,
    Question,
)
from infernet_edge.discovery.service import ALL_SERVICES, SERVICE
from tests.discovery.conftest import Announced
from tests.support.mdns import Querier, querier
from tests.support.networks import SecondMachine

NAME = (b"pi-kitchen", *SERVICE)
EVERYONE = DnsMessage(False, [Question(SERVICE, PTR)])


async def settled(asking: Querier) -> None:
    """After the announcements, and a second: a record is not sent twice in one."""
    await asyncio.sleep(2.2)
    asking.drain()


def answers(message: DnsMessage) -> bool:
    return message.response


async def test_a_query_is_answered_with_all_that_is_needed_next(
    other: SecondMachine, announced: Announced
) -> None:
    with querier(other.here) as asking:
        async with announced() as announcer:
            await settled(asking)
            asking.send(EVERYONE)
            answer = await asking.receive(answers)
            assert answer is not None
            assert [record.data for record in answer.answers] == [NAME]
            assert sorted(record.kind for record in answer.additional) == sorted([SRV, TXT, A])
            # Once in a second is enough for all who ask.
            asking.send(EVERYONE)
            assert await asking.receive(answers, 0.4) is None
            await settled(asking)
            for name, kind, expected in (
                (NAME, SRV, {SRV}),
                (tuple(label.upper() for label in NAME), ANY, {SRV, TXT}),
                (announcer.responder.host, A, {A}),
                (ALL_SERVICES, PTR, {PTR}),
            ):
                asking.send(DnsMessage(False, [Question(name, kind)]))
                answer = await asking.receive(answers)
                assert answer is not None, (name, kind)
                assert {record.kind for record in answer.answers} == expected
                await settled(asking)
            for question in (
                Question(announcer.responder.host, AAAA),
                Question((b"pi-attic", *SERVICE), SRV),
                Question((b"_http", b"_tcp", b"local"), PTR),
            ):
                asking.send(DnsMessage(False, [question]))
                assert await asking.receive(answers, 0.3) is None


async def test_known_answers_are_not_given_again(
    other: SecondMachine, announced: Announced
) -> None:
    with querier(other.here) as asking:
        async with announced():
            await settled(asking)
            for ttl, is_answered in ((4500, False), (2250, False), (2000, True)):
                known = DnsRecord(SERVICE, PTR, NAME, ttl)
                asking.send(DnsMessage(False, EVERYONE.questions, [known]))
                answer = await asking.receive(answers, 0.5)
                assert (answer is not None) is is_answered, ttl


async def test_known_answers_may_follow_in_a_second_packet(
    other: SecondMachine, announced: Announced
) -> None:
    with querier(other.here) as asking:
        async with announced():
            await settled(asking)
            asking.send(DnsMessage(False, EVERYONE.questions, truncated=True))
            asking.send(DnsMessage(False, answers=[DnsRecord(SERVICE, PTR, NAME, 4500)]))
            assert await asking.receive(answers, 1) is None
            asking.send(DnsMessage(False, EVERYONE.questions, truncated=True))
            assert await asking.receive(answers, 0.3) is None
            assert await asking.receive(answers, 1) is not None


async def test_ordinary_resolvers_get_an_answer_for_them_alone(
    other: SecondMachine, announced: Announced
) -> None:
    with querier(other.here) as listener, querier(other.here, 0) as resolver:
        async with announced():
            await settled(listener)
            resolver.send(EVERYONE._replace(identifier=4711))
            answer = await resolver.receive(answers)
            assert answer is not None
            assert answer.identifier == 4711
            assert answer.questions == list(EVERYONE.questions)
            records = [*answer.answers, *answer.additional]
            assert len(records) == 4
            assert all(record.ttl <= 10 and not record.flush for record in records)
            assert await listener.receive(answers, 0.3) is None
            # It is not a means to flood a host: ten answers a second at most.
            for _ in range(60):
                resolver.send(EVERYONE)
            count = 0
            while await resolver.receive(answers, 0.3) is not None:
                count += 1
            assert 0 < count <= 20


async def test_a_unicast_answer_where_one_is_wanted(
    other: SecondMachine, announced: Announced
) -> None:
    """The packet goes to the port 5353 of one host, where a socket of the group does not hear."""
    with querier(other.here) as asking:
        async with announced():
            await settled(asking)
            asking.send(DnsMessage(False, [Question(SERVICE, PTR, unicast=True)]))
            assert await asking.receive(answers, 0.5) is None
            asking.send(DnsMessage(False, [Question(SERVICE, PTR, unicast=False)]))
            assert await asking.receive(answers, 0.5) is not None
