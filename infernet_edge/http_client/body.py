"""The bytes of an answer that have arrived and wait to be read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NoReturn

from infernet_edge.http_client.errors import IncompleteAnswer

MAX_BUFFERED_BYTES: Final = 256 * 2**10
"""Bytes that wait to be read before the other side has to wait; one more read is added to them."""

_RESUMED_BYTES: Final = 64 * 2**10  # down to which they are read before it may go on


class Body:
    """A buffer between the connection, which appends, and one reader."""

    __slots__ = (
        "_buffered",
        "_error",
        "_is_paused",
        "_loop",
        "_parts",
        "_pause",
        "_resume",
        "_taken",
        "_waiter",
        "is_complete",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        """`pause` stops what the connection reads, `resume` lets it go on."""
        self.is_complete = False
        self._loop = loop
        self._pause = pause
        self._resume = resume
        self._parts: deque[bytes] = deque()
        self._taken = 0  # bytes of the first part that are read already
        self._buffered = 0
        self._is_paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def append(self, part: bytes) -> None:
        """Add what has arrived."""
        self._parts.append(part)
        self._buffered += len(part)
        if self._buffered > MAX_BUFFERED_BYTES and not self._is_paused:
            self._is_paused = True
            self._pause()
        self._wake()

    def complete(self) -> None:
        """Nothing follows."""
        self.is_complete = True
        if self._is_paused:
            self._is_paused = False
            self._resume()
        self._wake()

    def fail(self, error: Exception) -> None:
        """Raise this once the parts before it are read; the first error counts."""
        if self._error is None and not self.is_complete:
            self._error = error
            self._wake()

    async def read(self, most: int | None = None) -> bytes:
        """What has arrived, but at most `most` bytes of it; waits for something, b"" at the end.

        Raises HttpError when the connection ended before the body did.
        """
        while not self._parts:
            if self.is_complete:
                return b""
            if self._error is not None:
                self._raise_error()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.read_now(most)

    def read_now(self, most: int | None = None) -> bytes:
        """The same without waiting: b"" when nothing has arrived."""
        parts = self._parts
        if not parts:
            return b""
        if most is not None and self._buffered > most:
            part = self._beginning(most)
        elif len(parts) == 1 and not self._taken:
            part = parts.popleft()
        else:
            parts[0] = parts[0][self._taken :]
            part = b"".join(parts)
            parts.clear()
            self._taken = 0
        self._buffered -= len(part)
        if self._is_paused and self._buffered <= _RESUMED_BYTES:
            self._is_paused = False
            self._resume()
        return part

    def _beginning(self, most: int) -> bytes:
        """Take the first `most` bytes of more, most often of the first part alone."""
        parts, found, missing = self._parts, [], most
        while missing:
            end = self._taken + missing
            piece = parts[0][self._taken : end]
            found.append(piece)
            missing -= len(piece)
            self._taken = end
            if end >= len(parts[0]):
                parts.popleft()
                self._taken = 0
        return found[0] if len(found) == 1 else b"".join(found)

    def _raise_error(self) -> NoReturn:
        """Raise it without keeping it: its traceback has frames with what was read before."""
        error, self._error = self._error, IncompleteAnswer("it was not complete")
        assert error is not None, "something failed"
        try:
            raise error
        finally:
            del error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
