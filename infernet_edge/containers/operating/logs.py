"""The logs of managed containers for readers: one follower for each container, while it is read."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Final, NamedTuple

from infernet_edge.backoff import Backoff
from infernet_edge.clock import milliseconds
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.operating.lines import Frame, Line, Lines
from infernet_edge.containers.operating.log_stream import frames_of
from infernet_edge.errors import EngineError, Unavailable
from infernet_edge.logs import log_exception
from infernet_edge.schema import encoder
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

MAX_TAIL: Final = 2000
"""Lines of the past that a reader may get."""

MAX_RATE: Final = 200
"""New lines in a second that readers get; the others are counted."""

MAX_READERS: Final = 16
"""Readers of all logs together."""

_MAX_KEPT: Final = 2**19  # bytes of the past that a follower keeps
MAX_WAITING: Final = 2**20
"""Bytes that wait for one reader; one that is slower is dropped."""

MAX_PARSED: Final = 5000  # lines in a second; beyond that Podman has to wait
_CHECK_PERIOD: Final = 0.25  # seconds between two looks, in memory, for a new container
_FIRST_WAIT: Final = 1.0  # seconds for the first lines of the past to arrive
_NEXT_WAIT: Final = 0.1  # seconds without a line, after which the past is complete
_RETRY_LIMIT: Final = 5.0  # seconds; pauses while Podman does not answer grow up to this


class Current(NamedTuple):
    """A container's id in Podman, "" for none, and whether it runs."""

    id: str
    runs: bool


class LineReader:
    """The lines for one reader, as NDJSON."""

    def __init__(self, tail: int) -> None:
        self.tail = tail
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._more = asyncio.Event()
        self._ended = False

    def put(self, lines: Iterable[bytes]) -> None:
        """Add lines; ends the reader when too many wait."""
        for line in lines:
            self._size += len(line)
            self._lines.append(line)
        if self._size > MAX_WAITING:
            self.end()
        self._more.set()

    def end(self) -> None:
        """Give it no more lines, and none of those that wait."""
        self._ended = True
        self._lines.clear()
        self._more.set()

    async def take(self, timeout: float) -> bytes | None:
        """What waits, joined, or b"" when nothing comes in time (seconds); None at the end."""
        if not self._lines and not self._ended:
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._more.wait()
        if self._ended:
            return None
        taken = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        return taken


class LineRate:
    """Lets MAX_RATE lines in a second pass, and counts the others."""

    def __init__(self, publish: Callable[[list[bytes]], None]) -> None:
        """`publish` gets the number of those that were dropped, at the end of the second."""
        self._publish = publish
        self._until = 0.0
        self._count = 0
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def passed(self, lines: Iterable[Line], past: int) -> list[bytes]:
        """Those of the lines that pass; all that are older than `past`, in milliseconds."""
        found: list[bytes] = []
        for line in lines:
            now = time.monotonic()
            if now >= self._until:
                found += self._note()
                self._until, self._count = now + 1.0, 0
            if line.time < past:
                found.append(line.text)
                continue
            self._count += 1
            if self._count <= MAX_RATE:
                found.append(line.text)
                continue
            self._dropped += 1
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._until - now, self.flush)
        return found

    @property
    def excess(self) -> float:
        """Seconds for which nothing more should be read."""
        left = self._until - time.monotonic()
        return max(0.0, left) if self._count > MAX_PARSED else 0.0

    def flush(self) -> None:
        """Publish how many were dropped, if any."""
        if note := self._note():
            self._publish(note)

    def _note(self) -> list[bytes]:
        dropped, self._dropped = self._dropped, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return [encoder.encode({"dropped": dropped}) + b"\n"] if dropped else []


class Follower:
    """Follows the log of one configured container, over its restarts, for all its readers."""

    def __init__(
        self,
        connection: Connection,
        current: Callable[[], Current],
        ended: Callable[[], Awaitable[str]],
    ) -> None:
        """`current` is asked for the container in Podman, which a restart replaces, and `ended`
        for the id of one that has ended, when there is no current one."""
        self.readers: set[LineReader] = set()
        self._connection = connection
        self._current = current
        self._find_ended = ended
        self._kept: deque[bytes] = deque()
        self._size = 0  # of those
        self._is_past = True  # the lines of the past are not complete
        self._past_timer: asyncio.TimerHandle | None = None
        self._started = milliseconds()
        self._newest = ("", 0)  # the newest time of frames, and how many had it
        self._rate = LineRate(self._publish)

    def add(self, reader: LineReader) -> None:
        """Give a reader the last lines, and all that come."""
        self.readers.add(reader)
        if not self._is_past:
            self._give_past(reader)

    async def run(self) -> None:
        """Follow until this is cancelled."""
        try:
            await self._run()
        finally:
            self._rate.flush()
            if self._past_timer is not None:
                self._past_timer.cancel()

    async def _run(self) -> None:
        pauses = Backoff(_CHECK_PERIOD, _RETRY_LIMIT)
        followed, lines, is_complete = "", Lines(), False
        if not self._current().id:
            with contextlib.suppress(EngineError):
                followed = await self._find_ended()
        while True:
            container = self._current()
            if container.id and container.id != followed:
                self._pass_on(lines.end())
                followed, lines, is_complete = container.id, Lines(), False
                self._newest = ("", 0)
                pauses.reset()
            elif not container.runs:
                if not is_complete:  # Podman may have ended the stream before the last lines
                    await self._read(followed, lines, follow=False)
                    self._pass_on(lines.end())
                    is_complete = True
                self._complete_past()
                await asyncio.sleep(_CHECK_PERIOD)
                continue
            await self._read(followed, lines, follow=True)
            await asyncio.sleep(pauses.next())

    async def _read(self, container_id: str, lines: Lines, *, follow: bool) -> None:
        """Read what is new in the log of a container; until its end when it is followed."""
        if not container_id:
            return
        since, known = self._newest
        tail = MAX_TAIL if self._is_past and not since else None
        parts = frames_of(self._connection, container_id, tail=tail, since=since, follow=follow)
        with contextlib.suppress(EngineError):  # it was removed, or Podman is asked again
            async with contextlib.aclosing(parts):
                self._expect_past(_FIRST_WAIT)
                async for frames in parts:
                    if known:
                        repeated = sum(frame.time == since for frame in frames[:known])
                        known = known - repeated if repeated == len(frames) else 0
                        frames = frames[repeated:]
                    self._note_newest(frames)
                    self._pass_on(lines.join(frames))
                    if frames:
                        self._expect_past(_NEXT_WAIT)
                    await asyncio.sleep(self._rate.excess)

    def _note_newest(self, frames: list[Frame]) -> None:
        if frames:
            newest, count = frames[-1].time, sum(each.time == frames[-1].time for each in frames)
            before = self._newest
            self._newest = (newest, count + before[1] if before[0] == newest else count)

    def _expect_past(self, seconds: float) -> None:
        """The lines of the past are complete when none comes for this time."""
        if self._past_timer is not None:
            self._past_timer.cancel()
            self._past_timer = None
        if self._is_past:
            loop = asyncio.get_running_loop()
            self._past_timer = loop.call_later(seconds, self._complete_past)

    def _complete_past(self) -> None:
        if self._is_past:
            self._is_past = False
            for reader in self.readers:
                self._give_past(reader)

    def _give_past(self, reader: LineReader) -> None:
        skipped = max(0, len(self._kept) - reader.tail)
        reader.put(itertools.islice(self._kept, skipped, None))

    def _pass_on(self, lines: Iterable[Line]) -> None:
        self._publish(self._rate.passed(lines, self._started))

    def _publish(self, lines: list[bytes]) -> None:
        self._kept += lines
        self._size += sum(map(len, lines))
        while len(self._kept) > MAX_TAIL or self._size > _MAX_KEPT:
            self._size -= len(self._kept.popleft())
        if not self._is_past:
            for reader in self.readers:
                reader.put(lines)


class ContainerLogs:
    """Readers of the logs of all containers; Podman is used only while there are any."""

    def __init__(
        self,
        connection: Connection,
        current: Callable[[str], Current],
        ended: Callable[[str], Awaitable[str]],
    ) -> None:
        """`current` is asked for the container in Podman, by the configured id; `ended` for the id
        of one that has ended, "" for none, and may raise EngineError."""
        self._connection = connection
        self._current = current
        self._find_ended = ended
        self._followers: dict[str, tuple[Follower, asyncio.Task[None]]] = {}
        self._readers = 0
        self._ending: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def following(self, container: str, tail: int) -> Iterator[LineReader]:
        """A reader of the last lines and of all that come, within the block.

        Raises Unavailable when there are too many readers.
        """
        with self._admitted():
            if container not in self._followers:
                follower = Follower(
                    self._connection,
                    functools.partial(self._current, container),
                    functools.partial(self._find_ended, container),
                )
                task = asyncio.get_running_loop().create_task(follower.run())
                task.add_done_callback(_log_crash)
                self._followers[container] = follower, task
            follower, task = self._followers[container]
            reader = LineReader(tail)
            follower.add(reader)
            try:
                yield reader
            finally:
                follower.readers.discard(reader)
                if not follower.readers:
                    self._end(container, follower, task)

    def _end(self, container: str, follower: Follower, task: asyncio.Task[None]) -> None:
        if self._followers.get(container) == (follower, task):
            del self._followers[container]
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def last(self, container: str, tail: int) -> AsyncGenerator[bytes, None]:
        """The last lines of a container, of one that has ended, too; none when it has no log.

        Raises Unavailable when there are too many readers, EngineUnreachable when Podman does not
        answer.
        """
        with self._admitted():
            identifier = self._current(container).id or await self._find_ended(container)
            if not identifier:
                return
            lines = Lines()
            parts = frames_of(self._connection, identifier, tail=tail, since="", follow=False)
            async with contextlib.aclosing(parts):
                async for frames in parts:
                    yield b"".join(line.text for line in lines.join(frames))
            yield b"".join(line.text for line in lines.end())

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._readers >= MAX_READERS:
            raise Unavailable("Too many readers of logs", {"limit": MAX_READERS})
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    def forget(self, container: str) -> None:
        """End the readers of a container that is no longer configured."""
        if container in self._followers:
            follower, task = self._followers[container]
            for reader in follower.readers:
                reader.end()
            self._end(container, follower, task)

    async def stop(self) -> None:
        """End all readers and followers."""
        for container in list(self._followers):
            self.forget(container)
        await cancel(*self._ending)


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log_exception(logger, "container.log_crashed", error)
