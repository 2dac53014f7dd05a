"""Answers to the queries of a network (RFC 6762, 5 to 7)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from infernet_edge.discovery.messages import (
    AAAA,
    ANY,
    PTR,
    SRV,
    TXT,
    A,
    Data,
    DnsMessage,
    DnsRecord,
    Name,
    Question,
    Srv,
    folded,
)
from infernet_edge.discovery.sockets import PORT, MulticastSocket, Source

_Key = tuple[Name, int, Data]

_PAUSE: Final = 1.0  # seconds between two multicasts of one record
_PAUSE_PROBED = 0.25  # seconds, when a probe has to be answered
_DELAY: Final = (0.02, 0.12)  # seconds: others may answer a shared question at the same time
_DELAY_TRUNCATED: Final = (0.4, 0.5)  # seconds: more known answers follow
_MAX_LEGACY_TTL = 10  # seconds, for queriers that do not know mDNS
_UNICASTS_PER_SECOND = 10  # answers to single hosts
_LONG_AGO = -1e9


def random_delay(low: float, high: float) -> float:
    """A time between two times, in seconds, so that machines do not act all at once."""
    return low + (high - low) * secrets.randbelow(1000) / 1000


class Answers:
    """Answers the queries that arrive at one socket."""

    def __init__(self, socket: MulticastSocket) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._sent: dict[_Key, float] = {}  # when each record was multicast, of the present ones
        # What will be sent, and who asked for it.
        self._waiting: dict[_Key, tuple[DnsRecord, set[Source]]] = {}
        self._records: Sequence[DnsRecord] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._unicasts = 0
        self._second = 0.0

    def announce(self, records: Sequence[DnsRecord]) -> None:
        """Multicast all records, unasked."""
        self._multicast(records, ())

    def handle(self, query: DnsMessage, source: Source, records: Sequence[DnsRecord]) -> None:
        """Answer a query, as far as these records do."""
        self._records = records
        if source.port != PORT:
            self._answer_legacy(query, source)
            return
        known = {each.key: each.ttl for each in query.answers}
        if not query.questions:
            self._forget(known, source)
        now = self._loop.time()
        pause = _PAUSE_PROBED if query.proposed else _PAUSE
        alone: list[DnsRecord] = []
        for record, question in _asked(query.questions, records):
            if known.get(record.key, 0) * 2 >= record.ttl:
                continue
            sent = self._sent.get(record.key, _LONG_AGO)
            if question.unicast and now - sent < record.ttl / 4:
                alone.append(record)
            elif now - sent >= pause:
                self._waiting.setdefault(record.key, (record, set()))[1].add(source)
        if alone:
            self._unicast(DnsMessage(True, answers=alone, additional=_more(alone, records)), source)
        if self._waiting and self._timer is None:
            self._schedule(truncated=query.truncated)

    def close(self) -> None:
        """Send nothing that still waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()

    def _schedule(self, *, truncated: bool) -> None:
        shared = any(not record.flush for record, _ in self._waiting.values())
        if truncated or shared:
            delay = random_delay(*(_DELAY_TRUNCATED if truncated else _DELAY))
            self._timer = self._loop.call_later(delay, self._send_waiting)
        else:
            self._send_waiting()

    def _send_waiting(self) -> None:
        self._timer = None
        answers = [record for record, _ in self._waiting.values()]
        self._waiting.clear()
        if answers:
            self._multicast(answers, _more(answers, self._records))

    def _multicast(self, answers: Sequence[DnsRecord], additional: Sequence[DnsRecord]) -> None:
        now = self._loop.time()
        # Only of records that are sent today: names and texts may change.
        self._sent = {key: sent for key, sent in self._sent.items() if now - sent < _MOST_OFTEN}
        self._sent |= {record.key: now for record in (*answers, *additional)}
        self._socket.send(DnsMessage(True, answers=answers, additional=additional))

    def _forget(self, known: dict[_Key, int], source: Source) -> None:
        """A truncated query goes on: its sender knows these."""
        for key in known:
            if key in self._waiting and self._waiting[key][1] == {source}:
                del self._waiting[key]

    def _answer_legacy(self, query: DnsMessage, source: Source) -> None:
        """Answer a program that uses an ordinary resolver (RFC 6762, 6.7)."""
        found = [record for record, _ in _asked(query.questions, self._records)]
        if found:
            answers, additional = (
                [each._replace(ttl=min(each.ttl, _MAX_LEGACY_TTL), flush=False) for each in records]
                for records in (found, _more(found, self._records))
            )
            answer = DnsMessage(
                True, query.questions, answers, (), additional, identifier=query.identifier
            )
            self._unicast(answer, source)

    def _unicast(self, message: DnsMessage, to: Source) -> None:
        now = self._loop.time()
        if now - self._second >= 1:
            self._second, self._unicasts = now, 0
        self._unicasts += 1
        if self._unicasts <= _UNICASTS_PER_SECOND:
            self._socket.send(message, to)


_MOST_OFTEN: Final = 4500 / 4  # seconds after which it does not matter when a record was sent


def _asked(
    questions: Iterable[Question], records: Sequence[DnsRecord]
) -> Iterable[tuple[DnsRecord, Question]]:
    """The records that questions ask for, each once."""
    found: dict[_Key, tuple[DnsRecord, Question]] = {}
    for question in questions:
        name = folded(question.name)
        for record in records:
            if question.kind in (record.kind, ANY) and name == folded(record.name):
                found.setdefault(record.key, (record, question))
    return found.values()


def _more(answers: Sequence[DnsRecord], records: Sequence[DnsRecord]) -> list[DnsRecord]:
    """What a querier will ask for next (RFC 6763, 12)."""
    wanted: set[tuple[Name, int]] = set()
    for record in answers:
        if record.kind == PTR and isinstance(record.data, tuple):
            wanted |= {(folded(record.data), kind) for kind in (SRV, TXT)}
    present = {record.key for record in answers}
    services = [
        record
        for record in records
        if record.key not in present and (folded(record.name), record.kind) in wanted
    ]
    for record in (*answers, *services):
        if isinstance(record.data, Srv):
            wanted |= {(folded(record.data.host), kind) for kind in (A, AAAA)}
    return [
        record
        for record in records
        if record.key not in present and (folded(record.name), record.kind) in wanted
    ]
