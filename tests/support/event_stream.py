"""Reads text/event-stream by the rules of the HTML standard, section 9.2.6, and nothing more.

async with reading(node.session, node.url + "/api/events") as stream:
    event = await stream.next()
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp


class ReadEvent(NamedTuple):
    """An event as a browser dispatches it."""

    name: str
    data: str
    last_id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Parser:
    """Bytes in, events out. Lines end with LF, CR or CR LF."""

    def __init__(self) -> None:
        self.retry: int | None = None
        self.comments = 0
        self.last_id = ""
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ReadEvent]:
        text = self._rest + chunk
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if not line:
                if self._data:
                    yield ReadEvent(self._name or "message", "\n".join(self._data), self.last_id)
                self._name, self._data = "", []
                continue
            self._take(line.decode("utf-8"))

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            if "\0" not in value:
                self.last_id = value
        elif name == "retry":
            assert value.isdecimal()
            self.retry = int(value)
        else:
            raise AssertionError(f"no field of an event stream: {line}")


class EventStream:
    """An open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.parser = Parser()
        self._waiting: list[ReadEvent] = []

    async def next(self, timeout: float = 60) -> ReadEvent:
        """The next event; raises StopAsyncIteration at the end of the stream."""
        async with asyncio.timeout(timeout):
            while not self._waiting:
                chunk = await self.response.content.readany()
                if not chunk:
                    raise StopAsyncIteration
                self._waiting += self.parser.feed(chunk)
        return self._waiting.pop(0)

    async def until(self, name: str, timeout: float = 60) -> list[ReadEvent]:
        """All events up to and with the next one of this name."""
        found: list[ReadEvent] = []
        async with asyncio.timeout(timeout):
            while not found or found[-1].name != name:
                found.append(await self.next(timeout))
        return found

    async def rest(self, timeout: float = 60) -> list[ReadEvent]:
        """All events to the end of the stream."""
        found: list[ReadEvent] = []
        async with asyncio.timeout(timeout):
            while True:
                try:
                    found.append(await self.next(timeout))
                except StopAsyncIteration:
                    return found

    async def quiet(self, seconds: float) -> bool:
        """Whether no event comes for so long."""
        try:
            self._waiting.insert(0, await self.next(seconds))
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def reading(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[EventStream]:
    """Read events within the block."""
    async with session.get(url, headers=headers, timeout=_NO_LIMIT) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield EventStream(response)


_NO_LIMIT = aiohttp.ClientTimeout(total=None)
