"""The name of a node in its networks: probed, announced, defended, changed when it is taken."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from infernet_edge.backoff import Backoff
from infernet_edge.discovery.answers import Answers, random_delay
from infernet_edge.discovery.messages import (
    ANY,
    SRV,
    DnsMessage,
    DnsRecord,
    Name,
    Question,
    folded,
    wire_form,
)
from infernet_edge.discovery.service import (
    SERVICE,
    Description,
    numbered,
    own_records,
    records,
)
from infernet_edge.discovery.sockets import MulticastSocket, SocketSet, Source
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_PROBES: Final = 3  # RFC 6762, 8.1
_PROBE_PAUSE: Final = 0.25  # seconds between them, and the maximum before the first
_LOST_PAUSE: Final = 1.0  # seconds until a probe that lost against another one is repeated
_ANNOUNCE_PAUSE: Final = 1.0  # seconds between two announcements (RFC 6762, 8.3)
_MANY_CONFLICTS: Final = 15  # after which the pauses grow
_CONFLICT_PAUSE: Final = 5.0  # seconds
_MAX_CONFLICT_PAUSE: Final = 300.0  # seconds
_CALM: Final = 60.0  # seconds without a conflict after which they are counted from 1 again


class Responder:
    """Answers for one node in all its networks."""

    def __init__(
        self,
        sockets: SocketSet,
        name: str,
        describe: Callable[[], Description],
        on_conflict: Callable[[], None],
    ) -> None:
        """`on_conflict` is called when `establish` is needed again."""
        self._sockets = sockets
        self._wanted = name
        self._number = 1
        self._describe = describe
        self._on_conflict = on_conflict
        # Another one in each process: copies of a disk must not share it, and so never share a
        # SRV record, by which they notice that they have the same name.
        self.host: Name = (f"infernet-{secrets.token_hex(4)}".encode(), b"local")
        self._described = describe()
        self._own: Sequence[DnsRecord] = ()
        self._answers: dict[MulticastSocket, Answers] = {}
        self._answering = False
        self._conflict = asyncio.Event()
        self._lost = False
        self._conflicts = 0
        self._last_conflict = -_CALM
        self._pauses = Backoff(_CONFLICT_PAUSE, _MAX_CONFLICT_PAUSE)
        sockets.listen(self._received)

    @property
    def name(self) -> str:
        """The name under which the node is announced now."""
        return numbered(self._wanted, self._number)

    @property
    def announced(self) -> bool:
        """Whether the name is this node's, and others can find it."""
        return self._answering

    async def establish(self) -> None:
        """Make sure that no other node has the name, then announce it; ends when that is done."""
        self._answering = False
        self._follow()
        while not await self._probe():
            pass
        self._answering = True
        log_event(logger, "discovery.announced", name=self.name)
        self._announce()
        await asyncio.sleep(_ANNOUNCE_PAUSE)
        self._announce()

    def goodbye(self) -> None:
        """Withdraw what was announced."""
        if self._answering:
            self._answering = False
            for socket in self._sockets:
                withdrawn = [
                    record._replace(ttl=0) for record in self._records(socket) if _is_own(record)
                ]
                socket.send(DnsMessage(True, answers=withdrawn))
        for answers in self._answers.values():
            answers.close()
        self._answers.clear()

    def _follow(self) -> None:
        """Have answers for the sockets that there are now."""
        present = set(self._sockets)
        for socket in self._answers.keys() - present:
            self._answers.pop(socket).close()
        for socket in present - self._answers.keys():
            self._answers[socket] = Answers(socket)

    async def _probe(self) -> bool:
        """Ask three times whether another node has the name; False when it has to be repeated."""
        self._described = self._describe()
        self._own = own_records(self.name, self.host, self._described)
        self._lost = False
        self._conflict.clear()
        name = self._own[0].name
        probe = DnsMessage(False, [Question(name, ANY)], proposed=self._own)
        await asyncio.sleep(random_delay(0, _PROBE_PAUSE))
        for _ in range(_PROBES):
            self._sockets.send(probe)
            try:
                async with asyncio.timeout(_PROBE_PAUSE):
                    await self._conflict.wait()
            except TimeoutError:
                continue
            await self._give_way()
            return False
        return True

    async def _give_way(self) -> None:
        """Wait, or take another name: another node has it, or wants it and goes first."""
        if self._lost:
            await asyncio.sleep(_LOST_PAUSE)
            return
        taken = self.name
        self._number += 1
        log_event(logger, "discovery.renamed", logging.WARNING, name=taken, renamed=self.name)
        await self._wait_after_conflict()

    async def _wait_after_conflict(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._last_conflict >= _CALM:
            self._conflicts = 0
            self._pauses.reset()
        self._last_conflict = now
        self._conflicts += 1
        if self._conflicts >= _MANY_CONFLICTS:
            await asyncio.sleep(self._pauses.next())

    def _announce(self) -> None:
        for socket, answers in self._answers.items():
            answers.announce([each for each in self._records(socket) if _is_own(each)])

    def _records(self, socket: MulticastSocket) -> list[DnsRecord]:
        return records(self.name, self.host, self._described, socket.link)

    def _received(self, socket: MulticastSocket, message: DnsMessage, source: Source) -> None:
        if message.response:
            self._defend(message)
        elif self._answering and socket in self._answers:
            self._answers[socket].handle(message, source, self._records(socket))
            if self._describe() != self._described:  # such as the first token of the node
                self._on_conflict()
        elif message.proposed:
            self._compare(message.proposed)

    def _defend(self, message: DnsMessage) -> None:
        """Notice another node with the name of this one: it has another SRV record."""
        if not self._own:
            return
        own = self._own[0]
        for record in (*message.answers, *message.additional):
            same_name = record.kind == SRV and folded(record.name) == folded(own.name)
            if same_name and record.ttl and record.key != own.key:
                if self._answering:
                    self._on_conflict()
                else:
                    self._lost = False
                    self._conflict.set()
                return

    def _compare(self, proposed: Sequence[DnsRecord]) -> None:
        """Another node probes for the name at the same time: the later records win."""
        if not self._own or self._conflict.is_set():
            return
        name = folded(self._own[0].name)
        theirs = sorted(wire_form(each) for each in proposed if folded(each.name) == name)
        if theirs > sorted(map(wire_form, self._own)):
            self._lost = True
            self._conflict.set()


def _is_own(record: DnsRecord) -> bool:
    """Whether a record is this node's alone, or names it."""
    return record.flush or folded(record.name) == SERVICE
