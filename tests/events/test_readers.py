"""Readers of events: what they share, when they are dropped, how little the bus waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator

import pytest

from infernet_edge.errors import TooManyRequests, Unavailable
from infernet_edge.events.bus import MAX_KEPT, Events
from infernet_edge.events.readers import (
    MAX_READERS_PER_CLIENT,
    MAX_WAITING,
    EventReader,
    EventReaders,
    Selection,
)
from tests.support.event_stream import Parser, ReadEvent

ALL = Selection(("job", "container"), None)
OWN = Selection(("job", "container"), "a")


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def readers(events: Events) -> EventReaders:
    return EventReaders(events, "1.0")


async def taken(reader: EventReader, timeout: float = 0.1) -> list[ReadEvent]:
    """All events until there is none for a moment."""
    parser, found = Parser(), list[ReadEvent]()
    while text := await reader.next(timeout):
        found += parser.feed(text)
    return found


@contextlib.contextmanager
def admitted(readers: EventReaders, selection: Selection) -> Iterator[EventReader]:
    with readers.admitted("a", selection) as reader:
        yield reader


async def test_what_is_encoded_is_shared(events: Events, readers: EventReaders) -> None:
    with (
        admitted(readers, ALL) as one,
        admitted(readers, ALL) as two,
        admitted(readers, OWN) as own,
    ):
        assert len(readers.channels) == 2
        for reader in (one, two, own):
            assert [event.name for event in await taken(reader)] == ["hello"]
        events.publish("job.accepted", {"id": "x"}, client="a")
        texts = [await reader.next(1) for reader in (one, two, own)]
        assert texts[0] is texts[1]
        assert texts[0] == texts[2]
    assert readers.channels == {}


async def test_nothing_is_encoded_or_scheduled_without_readers(
    events: Events, readers: EventReaders
) -> None:
    with admitted(readers, Selection(("machine",), None)):
        events.publish("job.accepted", {"id": "x"})
        assert not events.topics["job"].ring
        assert readers.is_idle
    events.publish("machine.measured", {})
    assert readers.is_idle


async def test_the_events_of_others_are_left_out(events: Events, readers: EventReaders) -> None:
    with admitted(readers, OWN) as own, admitted(readers, ALL) as operator:
        for client in ("a", "b", None):
            events.publish("job.accepted", {"id": client}, client=client)
        assert [event.json.get("id") for event in (await taken(own))[1:]] == ["a", None]
        assert len(await taken(operator)) == 4


async def test_one_that_takes_nothing_is_dropped(events: Events, readers: EventReaders) -> None:
    with admitted(readers, ALL) as slow, admitted(readers, ALL) as quick:
        for _ in range(MAX_WAITING):
            events.publish("job.accepted", {"id": "x"})
        assert len(await taken(quick)) == 1 + MAX_WAITING
        assert not slow.dropped.done()
        events.publish("job.accepted", {"id": "x"})
        assert len(await taken(quick)) == 1
        assert slow.dropped.done()
        assert await slow.next(1) is None
        events.publish("job.accepted", {"id": "x"})
        assert len(await taken(quick)) == 1


async def test_events_of_others_do_not_count_as_waiting(
    events: Events, readers: EventReaders
) -> None:
    with admitted(readers, OWN) as own:
        for _ in range(3 * MAX_WAITING):
            events.publish("job.accepted", {"id": "x"}, client="b")
        await asyncio.sleep(0.05)
        assert not own.dropped.done()


async def test_one_that_waits_gets_many_at_once(events: Events, readers: EventReaders) -> None:
    with admitted(readers, ALL) as reader:
        await taken(reader)
        waiting = asyncio.create_task(taken(reader, 1))
        await asyncio.sleep(0)
        for _ in range(MAX_KEPT):
            events.publish("job.accepted", {"id": "x"})
        assert len(await waiting) == MAX_KEPT


async def test_it_joins_after_what_was_published_before(
    events: Events, readers: EventReaders
) -> None:
    """Also what waits to be distributed."""
    with admitted(readers, ALL) as first:
        events.publish("job.accepted", {"id": "x"})
        with admitted(readers, ALL) as second:
            assert [event.name for event in await taken(second)] == ["hello"]
        assert len(await taken(first)) == 2


async def test_single_events_come_at_once_and_then_in_batches(
    events: Events, readers: EventReaders
) -> None:
    loop = asyncio.get_running_loop()
    with admitted(readers, ALL) as reader:
        delays = list[float]()
        for _ in range(5):  # the machine may be busy in some of them
            await taken(reader)
            began = loop.time()
            events.publish("job.accepted", {"id": "x"})
            assert await reader.next(1)
            delays.append(loop.time() - began)
        assert min(delays) < 0.01
        began, texts = loop.time(), 0
        while loop.time() - began < 0.5:
            events.publish("job.accepted", {"id": "x"})
            texts += len(await reader.next(0.001) or b"") > 0
        assert texts <= 27  # fifty a second


async def test_one_frame_in_a_period(events: Events, readers: EventReaders) -> None:
    loop = asyncio.get_running_loop()
    with admitted(readers, ALL._replace(every=0.2)) as reader:
        await taken(reader)
        began, times = loop.time(), list[float]()
        while loop.time() - began < 0.7:
            events.publish("job.accepted", {"id": "x"})
            if await reader.next(0.001):
                times.append(loop.time() - began)
        assert times[0] < 0.19  # the first one does not wait for a period
        assert 2 <= len(times) <= 4
        assert min(b - a for a, b in itertools.pairwise(times)) > 0.19


async def test_the_id_of_a_frame_is_of_what_is_in_it(events: Events, readers: EventReaders) -> None:
    """Else a reader that resumes would miss what was published while the frame was due."""
    every = ALL._replace(every=60)
    with admitted(readers, every) as reader:
        events.publish("job.accepted", {"id": "first"})
        await taken(reader)
        events.publish("job.accepted", {"id": "second"})
        await asyncio.sleep(0.05)
        number = events.last
        events.publish("job.accepted", {"id": "third"})
        readers.channels[every].end()
        (frame,) = await taken(reader)
        assert [each["id"] for each in frame.json["changed"]] == ["second"]
        assert frame.last_id == events.identifier(number)
    with readers.admitted("a", every, frame.last_id) as reader:
        hello, frame = await taken(reader)
        assert (hello.name, hello.last_id) == ("hello", events.identifier(number))
        assert [each["id"] for each in frame.json["changed"]] == ["third"]


async def test_ids_grow_whenever_a_reader_joins(events: Events, readers: EventReaders) -> None:
    every = ALL._replace(every=0.5)
    with admitted(readers, every) as first, admitted(readers, Selection(("storage",), None)):
        events.publish("job.accepted", {"id": "x"})
        assert len(await taken(first, 0.2)) == 2
        events.publish("job.finished", {"id": "x"})
        await asyncio.sleep(0.03)
        events.publish("storage.full", {})
        with admitted(readers, every) as second:
            hello, frame = await taken(second, 0.8)
            assert hello.last_id <= frame.last_id


async def test_limits(events: Events, readers: EventReaders) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_READERS_PER_CLIENT):
            stack.enter_context(admitted(readers, ALL))
        with pytest.raises(TooManyRequests), admitted(readers, ALL):
            pass
        with readers.admitted("another", ALL):
            assert readers.count == MAX_READERS_PER_CLIENT + 1
        readers.limit = MAX_READERS_PER_CLIENT
        with pytest.raises(Unavailable), readers.admitted("another", ALL):
            pass
    assert readers.count == 0


async def test_the_end_comes_after_what_waits(events: Events, readers: EventReaders) -> None:
    with (
        admitted(readers, ALL) as single,
        admitted(readers, ALL._replace(every=60)) as coalesced,
    ):
        for reader in (single, coalesced):
            await taken(reader)
        events.publish("job.accepted", {"id": "x"})
        await coalesced.next(1)
        events.publish("job.finished", {"id": "x"})
        readers.close()
        assert [event.name for event in await taken(single)] == ["job.accepted", "job.finished"]
        (frame,) = await taken(coalesced)
        assert [each["event"] for each in frame.json["changed"]] == ["job.finished"]
        for reader in (single, coalesced):
            assert await reader.next(1) is None
        with pytest.raises(Unavailable), admitted(readers, ALL):
            pass
