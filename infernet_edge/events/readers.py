"""The readers of events: they share what is encoded, and none of them slows the node down.

Readers of the same types, permissions and period share a channel. Published events are distributed
to the channels at most fifty times a second, and each reader has a queue of texts that it has not
taken yet. A reader that does not take its events is dropped: it resumes when it connects again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from infernet_edge.clock import iso_time, milliseconds
from infernet_edge.errors import TooManyRequests, Unavailable
from infernet_edge.events.bus import MAX_KEPT, Event, Events, encode
from infernet_edge.events.coalescing import Changes
from infernet_edge.events.text import event_text, retry_text

MAX_READERS: Final = 128
"""Readers at the same time, and at most a quarter of the connections; others get 503."""

MAX_READERS_PER_CLIENT: Final = 32
"""Readers of one client; others get 429."""

MAX_WAITING: Final = 256
"""Events that wait for a reader which does not take them, before it is dropped."""

MAX_BURST: Final = 10_000
"""Events that a reader which takes all of them may get at once: those of the largest batch."""

_RETRY_MILLISECONDS: Final = 2000  # the pause of a reader that lost its connection
_PACE: Final = 0.02  # seconds between two distributions; one after a quiet time comes at once
_AT_ONCE: Final = MAX_KEPT // 2  # events that are distributed without waiting for the next one
_TOGETHER: Final = 50  # events in one text
_PART: Final = 16 * 2**10  # bytes that are sent at a time, about


class Selection(NamedTuple):
    """What a reader wants: types, in the order of EVENT_TYPES, and one frame in `every` seconds.

    `client`: None for an operator, who reads the events of all clients. `every` 0: single events.
    """

    types: tuple[str, ...]
    client: str | None
    every: float = 0.0

    @property
    def in_full(self) -> bool:
        """Whether reasons are for an operator, with paths and output of containers."""
        return self.client is None

    def contains(self, event: Event) -> bool:
        """Whether this event is for this reader."""
        if event.type not in self.types:
            return False
        return self.client is None or event.client is None or event.client == self.client


class QueuedText:
    """A text that waits for readers; `count` is how many events it counts for.

    It is made when the first reader takes it: so a burst of events does not hold up the node.
    """

    __slots__ = ("_make", "_text", "count")

    def __init__(self, count: int, make: Callable[[], bytes]) -> None:
        self._make: Callable[[], bytes] | None = make
        self._text = b""
        self.count = count

    @property
    def text(self) -> bytes:
        """The text, the same for all readers."""
        if self._make is not None:
            self._text, self._make = self._make(), None
        return self._text


class EventReader:
    """One reader. Its owner calls `next` and sends what that returns, until it is None."""

    def __init__(self) -> None:
        self.dropped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it did not take its events: what it is being sent is given up."""
        self._parts: deque[QueuedText] = deque()
        self._waiting = 0
        self._ended = False
        self._more: asyncio.Future[None] | None = None  # while `next` waits

    def put(self, parts: list[QueuedText]) -> None:
        """Add texts; drops the reader where too many events wait."""
        self._waiting += sum(part.count for part in parts)
        # One that waits for events takes these in a moment.
        limit = MAX_BURST if self._more is not None else MAX_WAITING
        if self._waiting > limit:
            self._parts.clear()
            self.end()
            if not self.dropped.done():
                self.dropped.set_result(None)
            return
        self._parts.extend(parts)
        self._wake()

    def end(self) -> None:
        """No more events come; what waits is still sent."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def next(self, timeout: float) -> bytes | None:
        """The next text; b"" when there is none within `timeout` seconds, None at the end."""
        if not self._parts and not self._ended:
            self._more = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._more
            except TimeoutError:
                return b""
            finally:
                self._more = None
        text = b""
        while self._parts and len(text) < _PART:
            part = self._parts.popleft()
            self._waiting -= part.count
            text = text + part.text if text else part.text
        return text or None


class _Channel:
    """The readers of one selection."""

    def __init__(self, events: Events, selection: Selection) -> None:
        self.readers: dict[EventReader, None] = {}
        self.position = 0  # the number of the newest event that was distributed, of any type
        self._events = events
        self._selection = selection
        self._changes = Changes(events, selection.types, in_full=selection.in_full)
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = float("-inf")

    def take(self, batch: list[Event]) -> None:
        """Give readers what is for them of a batch, at once or at the end of the period."""
        chosen = [event for event in batch if self._selection.contains(event)]
        if not chosen:
            return
        if not self._selection.every:
            self._put(parts_of(self._events, chosen, in_full=self._selection.in_full))
            return
        self._changes.add(chosen)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            when = max(loop.time(), self._sent_at + self._selection.every)
            self._timer = loop.call_at(when, self._send_changes)

    def _send_changes(self) -> None:
        self._timer = None
        self._sent_at = asyncio.get_running_loop().time()
        self._put([_ready(self._changes.take(self.position), 1)])

    def _put(self, parts: list[QueuedText]) -> None:
        for reader in list(self.readers):
            reader.put(parts)

    def end(self) -> None:
        """End its readers, with the changes of the present period."""
        if self._timer is not None:
            self.close()
            self._send_changes()
        for reader in self.readers:
            reader.end()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()


class EventReaders:
    """All readers: at most `limit`, and MAX_READERS_PER_CLIENT of one client."""

    def __init__(self, events: Events, version: str) -> None:
        """`version` is that of the node, which each reader gets first."""
        self.limit = MAX_READERS
        self._events = events
        self._version = version
        self.channels: dict[Selection, _Channel] = {}
        self._by_client: dict[str, int] = {}
        self._fresh: list[Event] = []  # published, not yet distributed
        self._timer: asyncio.TimerHandle | None = None
        self._distributed_at = float("-inf")
        self._is_closed = False
        events.on_event = self._take

    @property
    def count(self) -> int:
        """How many readers there are."""
        return sum(self._by_client.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be distributed."""
        return not self._fresh and self._timer is None

    @contextlib.contextmanager
    def admitted(
        self, client: str, selection: Selection, last_id: str | None = None
    ) -> Iterator[EventReader]:
        """A reader for the duration of the block; it resumes after the event with `last_id`.

        Raises Unavailable, TooManyRequests beyond the limits.
        """
        if self._is_closed:
            raise Unavailable("The node is shutting down")
        if self.count >= self.limit:
            raise Unavailable("Too many readers of events", {"limit": self.limit})
        if self._by_client.get(client, 0) >= MAX_READERS_PER_CLIENT:
            raise TooManyRequests(
                "Too many readers of events from this client; close one of them",
                {"limit": MAX_READERS_PER_CLIENT},
                {"retry-after": "10"},
            )
        self._distribute()  # what was published before is not for the new reader
        reader = EventReader()
        reader.put(self._first(selection, last_id))
        channel = self.channels.get(selection)
        if channel is None:
            channel = self.channels[selection] = _Channel(self._events, selection)
        channel.readers[reader] = None
        self._by_client[client] = self._by_client.get(client, 0) + 1
        for kind in selection.types:
            self._events.add_reader(kind)
        try:
            yield reader
        finally:
            for kind in selection.types:
                self._events.remove_reader(kind)
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]
            del channel.readers[reader]
            if not channel.readers:
                channel.close()
                del self.channels[selection]

    def close(self) -> None:
        """End all readers, after what they have not taken yet: the node stops."""
        self._distribute()
        self._is_closed = True
        for channel in self.channels.values():
            channel.end()

    def _first(self, selection: Selection, last_id: str | None) -> list[QueuedText]:
        """What a reader gets first: retry, hello, and what it missed.

        `resync` comes before all events where that is not known: the reader must load all again.
        """
        events = self._events
        number = None if last_id is None else events.number_of(last_id)
        topics = [events.topics[name] for name in selection.types]
        known = (
            number is not None
            and number <= events.last
            and all(topic.lost <= number for topic in topics)
        )
        start = number if known and number is not None else events.last
        now = milliseconds()
        about = {"boot": events.boot, "version": self._version, "now": now}
        data, identifier = encode({"time": iso_time(now)} | about), events.identifier(start)
        texts = [retry_text(_RETRY_MILLISECONDS)]
        if last_id is not None and not known:
            texts.append(event_text("resync", data, identifier))
        texts.append(event_text("hello", data, identifier))
        missed = [
            event
            for topic in topics
            for event in topic.ring
            if event.number > start and selection.contains(event)
        ]
        missed.sort(key=lambda event: event.number)
        if selection.every:
            changes = Changes(events, selection.types, in_full=selection.in_full)
            changes.add(missed)
            texts.append(changes.take(events.last))
            missed = []
        parts = [_ready(b"".join(texts), 0), *parts_of(events, missed, in_full=selection.in_full)]
        for part in parts:
            part.count = 0  # what it missed does not count as waiting
        return parts

    def _take(self, event: Event) -> None:
        self._fresh.append(event)
        if len(self._fresh) >= _AT_ONCE:
            self._distribute()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            when = max(loop.time(), self._distributed_at + _PACE)
            self._timer = loop.call_at(when, self._distribute)

    def _distribute(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._fresh = self._fresh, []
        if batch:
            self._distributed_at = asyncio.get_running_loop().time()
        for channel in list(self.channels.values()):
            channel.position = self._events.last
            channel.take(batch)


def _ready(text: bytes, count: int) -> QueuedText:
    return QueuedText(count, lambda: text)


def parts_of(events: Events, batch: list[Event], *, in_full: bool = True) -> list[QueuedText]:
    """The texts of events, some of them together."""
    parts = []
    for start in range(0, len(batch), _TOGETHER):
        some = batch[start : start + _TOGETHER]
        parts.append(QueuedText(len(some), functools.partial(_joined, events, some, in_full)))
    return parts


def _joined(events: Events, batch: list[Event], in_full: bool) -> bytes:
    return b"".join(events.text_of(event, in_full=in_full) for event in batch)
