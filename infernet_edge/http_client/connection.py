"""One connection to a server: one exchange after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

from infernet_edge.http_client.errors import IncompleteAnswer
from infernet_edge.http_client.exchange import Exchange
from infernet_edge.http_client.response import HttpResponse
from infernet_edge.tasks import TaskSet

Payload = bytes | AsyncGenerator[bytes | memoryview, None]
"""What is sent at once, or in parts, as the other side takes them."""


class HttpConnection(asyncio.Protocol):
    """Sends requests and passes on what arrives; closed after anything unexpected."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tasks: TaskSet,
        idle: Callable[[HttpConnection], None],
    ) -> None:
        """`tasks` has those that send bodies; `idle` is called when another request may follow."""
        self._loop = loop
        self._tasks = tasks
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._writable: asyncio.Future[None] | None = None  # while the other side is behind
        self._sending: asyncio.Task[None] | None = None
        self._is_aborted = False

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, head: bytes, body: Payload) -> HttpResponse:
        """Send a request and wait for the head of its answer. Raises HttpError.

        An error of a body in parts is raised as it is. The rest of such a body is sent while the
        answer is read.
        """
        assert self._exchange is None, "one exchange at a time"
        exchange = self._exchange = Exchange(self, self._loop)
        try:
            if self._transport is None:  # closed since it was chosen
                exchange.end(None)
            elif isinstance(body, bytes):
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._sending = self._tasks.start(self._send(body, exchange))
            await exchange.head
            return HttpResponse(exchange)
        except BaseException:
            # Not abort(): after a complete answer another request may have the connection.
            exchange.fail(IncompleteAnswer("it is not waited for any more"))
            raise
        finally:
            del exchange  # it has the error, whose traceback has this frame and so the body

    async def _send(
        self, body: AsyncGenerator[bytes | memoryview, None], exchange: Exchange
    ) -> None:
        try:
            async with aclosing(body):
                async for part in body:
                    if self._transport is None or self._transport.is_closing():
                        return
                    self._transport.write(part)
                    if self._writable is not None:
                        await self._writable
        except asyncio.CancelledError:
            exchange.fail(IncompleteAnswer("its request is not sent any more"))
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            exchange.fail(error)
        finally:
            self._sending = None

    # For the exchange

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def finish(self, *, may_continue: bool) -> None:
        self._exchange = None
        if not may_continue or self._is_behind():
            self.abort()
        elif self.is_open:
            self._idle(self)

    def abort(self) -> None:
        """Close it at once, or as soon as it is open; without the farewell of TLS.

        Servers need not answer that, and it would be waited for.
        """
        self._is_aborted = True
        self._exchange = None
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _is_behind(self) -> bool:
        """Whether the other side answered before it took the whole body: it may never take it."""
        if self._sending is not None:
            return True
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._is_aborted:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            self.abort()  # nothing was asked
        else:
            self._exchange.feed(data)

    def eof_received(self) -> None:
        """Nothing follows, even if the other side still takes what is sent.

        The transport closes itself after it, once all is sent.
        """
        if self._exchange is not None:
            self._exchange.end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.end(error if isinstance(error, OSError) else None)
        self.resume_writing()
        if self._sending is not None:
            self._sending.cancel()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
