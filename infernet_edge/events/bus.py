"""The bus: parts of the node publish events, and a ring of the newest of each type is kept.

A ring is kept while the type has readers, and for some minutes after, so that they can resume; an
event that is not kept costs next to nothing. Nothing is encoded before a client reads it. All of
this belongs to the thread of the event loop.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from infernet_edge.clock import iso_time, milliseconds
from infernet_edge.events.public_text import public
from infernet_edge.events.text import event_text

MAX_KEPT: Final = 1000
"""Events of each type that are kept, to resume a reader that was disconnected."""

KEPT_SECONDS: Final = 600.0
"""Time after the last reader of a type for which its events are still kept."""

_MAX_TEXT: Final = 500  # characters of a text in an event; the rest is left out


class EventData(Protocol):
    """Data of an event that is made only when a client reads it."""

    @property
    def subject(self) -> object:
        """What the event is about; the newest event of a subject says how it is now."""

    def fields(self) -> dict[str, Any]:
        """The fields of the event."""


class EventType(Struct, frozen=True):
    """A type of events: those whose names begin with one of `nouns`.

    `frame` is the name under which changes of one period are sent together. `is_snapshot`: an
    event contains all there is to know, and replaces the one before.
    """

    name: str
    nouns: tuple[str, ...]
    frame: str
    is_snapshot: bool = False


EVENT_TYPES: Final = (
    EventType("job", ("job",), "jobs"),
    EventType("container", ("container", "podman"), "containers"),
    EventType("storage", ("storage", "intake"), "storage"),
    EventType("chain", ("head", "rpc", "delivery", "subscription"), "chain"),
    EventType("attention", ("attention",), "attention", is_snapshot=True),
    EventType("minute", ("minute",), "minute", is_snapshot=True),
    EventType("machine", ("machine",), "machine", is_snapshot=True),
)
"""All types. A new one needs a line here, and calls of `publish`."""


class Event(Struct, gc=False):
    """One event. `moment` is in milliseconds since 1970; `client` is None when all may read it.

    `number` grows with each event of the bus.
    """

    number: int
    name: str
    moment: int
    data: dict[str, Any] | EventData
    client: str | None
    type: str
    text: bytes | None = None  # encoded once, for all operators
    public_text: bytes | None = None  # and for all others

    @property
    def subject(self) -> tuple[str, object]:
        """What it is about."""
        data = self.data
        noun = self.name[: self.name.index(".")]
        return noun, data.get("id") if isinstance(data, dict) else data.subject

    def fields(self, *, in_full: bool = True) -> dict[str, Any]:
        """Its data, with the time; long texts are shortened.

        Not `in_full`, for readers who are no operators, its reason is a public text.
        """
        data = self.data if isinstance(self.data, dict) else self.data.fields()
        fields = {"time": iso_time(self.moment)} | {
            name: value[:_MAX_TEXT] if isinstance(value, str) else value
            for name, value in data.items()
        }
        if not in_full and (reason := fields.get("reason")):
            fields["reason"] = public(reason)
        return fields


class Topic:
    """The events of one type; `lost` is the number of the newest one that is no longer kept."""

    __slots__ = ("joined", "kept_until", "lost", "on_event", "readers", "ring", "type")

    def __init__(self, kind: EventType) -> None:
        self.type = kind
        self.ring: deque[Event] = deque(maxlen=MAX_KEPT)
        self.lost = 0
        self.readers = 0
        self.joined = 0  # readers so far
        self.on_event: Callable[[], None] | None = None  # called after each event that is kept
        self.kept_until = 0.0  # monotonic time

    @property
    def is_kept(self) -> bool:
        """Whether new events are kept: it has readers, or had some a moment ago."""
        return self.readers > 0 or time.monotonic() < self.kept_until


class Events:
    """The bus of a node.

    `boot` names this run of the node. Numbers of events begin at its time in microseconds, so that
    they also grow from one run to the next, unless the clock is set back.
    """

    def __init__(self, types: tuple[EventType, ...] = EVENT_TYPES) -> None:
        self.boot = secrets.token_hex(8)
        self.last = milliseconds() * 1000
        self.topics = {kind.name: Topic(kind) for kind in types}
        self._by_noun = {noun: self.topics[kind.name] for kind in types for noun in kind.nouns}
        self.on_event: Callable[[Event], None] = lambda event: None
        """Called with each event of a type that has readers."""
        self.summaries: dict[str, Callable[[], Mapping[str, Any]]] = {}
        """By type: what is added to the changes of one period, such as numbers of jobs."""
        self.on_interest: dict[str, Callable[[bool], None]] = {}
        """By type: called with True for its first reader, with False when the last one leaves."""

    def publish(
        self, name: str, data: dict[str, Any] | EventData, *, client: str | None = None
    ) -> None:
        """Publish an event, named `noun.verb`; its noun must be one of EVENT_TYPES.

        `data` is not changed afterwards; its `id` says what the event is about. With a `client`
        only that client and operators may read it.
        """
        topic = self._by_noun[name[: name.index(".")]]
        if not self.wants(topic.type.name):
            return
        self.last += 1
        ring = topic.ring
        if len(ring) == MAX_KEPT:
            topic.lost = ring[0].number
        event = Event(self.last, name, milliseconds(), data, client, topic.type.name)
        ring.append(event)
        if topic.on_event is not None:
            topic.on_event()
        if topic.readers:
            self.on_event(event)

    def wants(self, kind: str) -> bool:
        """Whether events of a type are kept now; where they are not, one counts as published.

        So the data of what is not read need not be made.
        """
        topic = self.topics[kind]
        if topic.is_kept:
            return True
        self.last += 1
        topic.lost = self.last
        topic.ring.clear()
        return False

    def has_readers(self, kind: str) -> bool:
        """Whether a type has readers: what is measured only for them need not be measured else."""
        return self.topics[kind].readers > 0

    def add_reader(self, kind: str) -> None:
        """Count a reader of a type."""
        topic = self.topics[kind]
        topic.readers += 1
        topic.joined += 1
        if topic.readers == 1 and (notify := self.on_interest.get(kind)):
            notify(True)

    def remove_reader(self, kind: str) -> None:
        """Count one less."""
        topic = self.topics[kind]
        topic.readers -= 1
        if not topic.readers:
            topic.kept_until = time.monotonic() + KEPT_SECONDS
        if not topic.readers and (notify := self.on_interest.get(kind)):
            notify(False)

    @contextlib.contextmanager
    def watched(
        self, kinds: Iterable[str], others: Iterable[str], notify: Callable[[], None]
    ) -> Iterator[None]:
        """Call `notify` after each event of `kinds`, for the duration of the block.

        And of `others`, as long as those have readers. It is for one part of the node, which looks
        what changed; `notify` must return at once.
        """
        for kind in (*kinds, *others):
            self.topics[kind].on_event = notify
        for kind in kinds:
            self.add_reader(kind)
        try:
            yield
        finally:
            for kind in (*kinds, *others):
                self.topics[kind].on_event = None
            for kind in kinds:
                self.remove_reader(kind)

    def identifier(self, number: int) -> str:
        """The id of an event as readers see it."""
        return f"{number}-{self.boot}"

    def number_of(self, identifier: str) -> int | None:
        """The number in an id of this run; None for any other text."""
        number, _, boot = identifier.partition("-")
        if boot != self.boot or not number.isascii() or not number.isdecimal():
            return None
        return int(number) if len(number) <= len(str(self.last)) else None

    def text_of(self, event: Event, *, in_full: bool = True) -> bytes:
        """An event as it is sent: `in_full` to operators."""
        if in_full:
            if event.text is None:
                event.text = self._text(event, event.fields())
            return event.text
        if event.public_text is None:
            event.public_text = self._text(event, event.fields(in_full=False))
        return event.public_text

    def _text(self, event: Event, fields: Mapping[str, Any]) -> bytes:
        return event_text(event.name, encode(fields), self.identifier(event.number))


def encode(fields: Mapping[str, Any]) -> bytes:
    """Fields as JSON in one line; texts that are not valid Unicode are replaced."""
    try:
        return msgspec.json.encode(fields, enc_hook=str)
    except UnicodeEncodeError:  # bytes of a container that are not text
        return msgspec.json.encode(_valid(fields), enc_hook=str)


def _valid(value: Any) -> Any:
    """A value whose texts can be encoded."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(_valid(name)): _valid(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(each) for each in value]
    return value
