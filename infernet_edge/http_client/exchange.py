"""One request and the answer to it, as the bytes of the answer arrive."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import httptools

from infernet_edge.http_client.body import Body
from infernet_edge.http_client.errors import ConnectionLost, IncompleteAnswer, NotHttp

MAX_HEAD_BYTES: Final = 64 * 2**10
"""Bytes of an answer between parts of its body: its head, sizes of chunks, a trailer."""

_NO_BODY: Final = (204, 304)  # status codes whose answers have none, whatever their head says


class Carrier(Protocol):
    """The connection on which an answer arrives."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""

    def finish(self, *, may_continue: bool) -> None:
        """The answer is complete; `may_continue`: another request may follow."""

    def abort(self) -> None:
        """Close it at once."""


class Exchange:
    """Reads one answer; its head is `head`, which is done once it has arrived.

    The methods that begin with on_ are those that the parser calls.
    """

    __slots__ = (
        "_carrier",
        "_has_begun",
        "_has_head",
        "_is_at_end",
        "_is_interim",
        "_is_persistent",
        "_left",
        "_parser",
        "_until_end",
        "_without_body",
        "body",
        "content_length",
        "head",
        "headers",
        "reason",
        "status",
    )

    def __init__(self, carrier: Carrier, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.content_length: int | None = None
        self.head: asyncio.Future[None] = loop.create_future()
        self.body = Body(loop, carrier.pause, carrier.resume)
        self._carrier = carrier
        self._has_begun = False
        self._has_head = False
        self._is_at_end = False
        self._is_interim = False  # a status of 100 to 199, which another answer follows
        self._is_persistent = False  # the connection stays open
        self._until_end = False  # the body ends with the connection
        self._left = 0  # bytes of a body of known length, which need no parser
        self._without_body = 0  # bytes that arrived since the last part of the body
        # Until the end only: both refer to each other, which would keep the body in memory.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        # Simple servers end lines without CR, and write spaces: others accept that, too.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._has_begun = True
        if self._left:
            self._feed_body(data)
            return
        self._without_body += len(data)
        assert self._parser is not None, "nothing is fed after the end"
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(NotHttp("another protocol"))
        except httptools.HttpParserError as error:
            self.fail(NotHttp(str(error)))
        else:
            if self._is_at_end:
                self._complete(may_continue=self._is_persistent)
            elif self._without_body > MAX_HEAD_BYTES:
                self.fail(NotHttp(f"more than {MAX_HEAD_BYTES} bytes without a body"))

    def end(self, os_error: OSError | None) -> None:
        """The connection has ended."""
        if not self._has_begun:
            self.fail(ConnectionLost(os_error))
        elif self._until_end and os_error is None:
            self._complete(may_continue=False)
        elif self._has_head:
            self.fail(IncompleteAnswer("the connection ended before the body"))
        elif os_error is not None:
            self.fail(ConnectionLost(os_error))
        else:
            self.fail(NotHttp("the connection ended before the head"))

    def fail(self, error: Exception) -> None:
        """Raise this where the answer is waited for, and close the connection.

        Nothing happens when the answer is complete.
        """
        if self.body.is_complete:
            return
        if not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # so that it is not logged when nothing waits for it any more
        self.body.fail(error)
        self._parser = None
        self._carrier.abort()

    def on_message_begin(self) -> None:
        if self._is_at_end:
            raise NotHttp("more than one answer")  # the parser stops, and raises another error

    def on_status(self, reason: bytes) -> None:
        self.reason += reason  # it may arrive in parts

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else it is one of a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None, "it calls this method"
        status = self._parser.get_status_code()
        self._is_interim = 100 <= status < 200
        if self._is_interim:
            self.headers.clear()
            self.reason = b""
            return
        if status < 100:
            raise NotHttp("no status of HTTP")
        self.status = status
        self._has_head = True
        self._is_persistent = self._parser.should_keep_alive()
        is_chunked = False
        for name, value in self.headers:
            lower = name.lower()
            if lower == b"content-length":
                self.content_length = int(value)
            elif lower == b"transfer-encoding":
                # No request asks for another one, and not all forms are chunks for the parser.
                if value.lower().strip(b" ") != b"chunked":
                    raise NotHttp("an unknown transfer coding")
                is_chunked = True
        has_length = is_chunked or self.content_length is not None
        self._until_end = not has_length and status not in _NO_BODY
        if self.content_length and status not in _NO_BODY:
            self._left = self.content_length
        if not self.head.done():
            self.head.set_result(None)

    def on_body(self, part: bytes) -> None:
        if self._is_interim:
            raise NotHttp("an interim answer with a body")
        self._without_body = 0
        if self._left:
            self._left -= len(part)
        self.body.append(part)

    def on_message_complete(self) -> None:
        self._is_at_end = not self._is_interim

    def _feed_body(self, data: bytes) -> None:
        """Take more of a body of known length, without parsing it."""
        if len(data) > self._left:
            if data[self._left :].strip(b"\r\n"):  # a line end may follow, as for the parser
                self.fail(NotHttp("more bytes than its length"))
                return
            data = data[: self._left]
        self._left -= len(data)
        self.body.append(data)
        if not self._left:
            self._complete(may_continue=self._is_persistent)

    def _complete(self, *, may_continue: bool) -> None:
        self.body.complete()
        self._parser = None
        self._carrier.finish(may_continue=may_continue)
