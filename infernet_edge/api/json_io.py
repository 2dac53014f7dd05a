"""Reads bodies and sends answers: JSON within limits, errors as ErrorResponses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec.inspect import Metadata
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from infernet_edge.errors import ApiError, BadRequest, RequestTimeout, TooLarge
from infernet_edge.jobs.contents import PIECE, Buffer, Content
from infernet_edge.memory import MemoryBudget, Reservation
from infernet_edge.schema import ErrorResponse, encoder
from infernet_edge.validation import explain, not_utf8_at

T = TypeVar("T")

_MAX_CLOSED = 8  # connections that are closed to get memory for one answer
_CLOSING_TIME = 0.02  # seconds until a connection that is closed has released its memory
_AT_ONCE = PIECE  # bytes of an answer that are written at a time
_READ_AT_ONCE = 512 * 2**10  # of a stored answer that are read at a time, if there is much memory
_COLLECTED = 64 * 2**10  # bytes of a body from which on the server collects it
_BODY_TIME = 20.0  # seconds for a body to arrive; extended while it is fast enough
_MAX_BLANK = 1024  # bytes of white space that count as an empty body
NOSNIFF = (b"x-content-type-options", b"nosniff")  # a browser must not interpret it as a page
_JSON_TYPE = b"application/json"
_FIXED = [
    NOSNIFF,
    (b"content-security-policy", b"frame-ancestors 'none'"),  # nor as a part of one
    (b"cache-control", b"no-store"),  # answers are for one caller, and soon outdated
]
_KINDS = {
    "ListType": "a list",
    "StrType": "text",
    "RawType": "an object",  # the data of a job
    "BoolType": "true or false",
    "IntType": "a whole number",
}


class Answer:
    """A response, JSON by default; `content` is encoded unless it is bytes already."""

    __slots__ = ("_is_due", "_media_type", "body", "headers", "status")

    def __init__(
        self,
        content: Any,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        is_due: bool = False,
        media_type: bytes = _JSON_TYPE,
    ) -> None:
        """`is_due`: the request was executed, so the answer is sent even without free memory."""
        self._is_due = is_due
        self._media_type = media_type
        self.body = content if isinstance(content, bytes) else encoder.encode(content)
        self.status = status
        self.headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = (b"content-length", str(len(self.body)).encode())
        head: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [(b"content-type", self._media_type), *_FIXED, length, *self.headers],
        }
        if len(self.body) <= _AT_ONCE:
            await send(head)
            await send({"type": "http.response.body", "body": self.body})
            return
        memory: MemoryBudget = scope["memory"]
        with memory.reserve("answers") as held:
            if self._is_due:
                held.try_take(len(self.body))
            else:
                await _take(scope, held, len(self.body))
            await send(head)
            await _send_text(send, self.body)
            await send({"type": "http.response.body", "body": b""})


class ContentReader(Protocol):
    """Reads a stored content piece by piece, with `at_once` bytes of them in memory."""

    def __call__(self, content: Content, at_once: int = PIECE) -> AsyncIterator[bytes]: ...


class StoredAnswer:
    """A JSON response that is read from the store while it is sent."""

    __slots__ = ("_parts", "_read", "headers", "status")

    def __init__(
        self,
        parts: Sequence[bytes | Content],
        read: ContentReader,
    ) -> None:
        self._parts = parts
        self._read = read
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sizes = [part.size if isinstance(part, Content) else len(part) for part in self._parts]
        length = (b"content-length", str(sum(sizes)).encode())
        head: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [(b"content-type", _JSON_TYPE), *_FIXED, length, *self.headers],
        }
        memory: MemoryBudget = scope["memory"]
        with memory.reserve("answers") as held:
            texts = sum(len(part) for part in self._parts if isinstance(part, bytes))
            await _take(scope, held, PIECE + texts)
            at_once = min(max(sizes), _READ_AT_ONCE)
            if not held.try_take_spare(at_once):
                at_once = PIECE
            await send(head)
            if scope["method"] != "HEAD":
                await self._send_parts(send, scope.get("is_gone", bool), at_once)
            await send({"type": "http.response.body", "body": b""})

    async def _send_parts(self, send: Send, is_gone: Callable[[], bool], at_once: int) -> None:
        for part in self._parts:
            if isinstance(part, bytes):
                await _send_text(send, part)
                continue
            async for piece in self._read(part, at_once):
                if is_gone():
                    raise ClientDisconnect
                await _send_text(send, piece)


def answer_of(parts: Sequence[bytes | Content], read: ContentReader) -> Answer | StoredAnswer:
    """An answer built from parts; in memory, where none of them has to be read."""
    joined: list[bytes | Content] = []
    texts: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            texts.append(part)
        else:
            joined += (b"".join(texts), part)
            texts = []
    last = b"".join(texts)
    return StoredAnswer([*joined, last], read) if joined else Answer(last)


async def disconnected(receive: Receive) -> None:
    """Wait until the client of a request whose body was read disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _take(scope: Scope, held: Reservation, size: int) -> None:
    """Reserve memory for an answer; closes connections whose clients do not read theirs.

    Raises Unavailable.
    """
    make_room: Callable[[], bool] = scope.get("make_room", bool)
    for _ in range(_MAX_CLOSED):
        if held.try_take(size) or not make_room():
            break
        await asyncio.sleep(_CLOSING_TIME)
    if held.size < size:
        held.take(size)


async def _send_text(send: Send, text: bytes) -> None:
    """Send a part of a body; each write waits for the client, so that little is buffered."""
    for start in range(0, len(text), _AT_ONCE):
        part = text[start : start + _AT_ONCE]
        await send({"type": "http.response.body", "body": part, "more_body": True})


def error_answer(error: ApiError) -> Answer:
    """The ErrorResponse for an error."""
    return Answer(ErrorResponse(error.message, error.params), error.status, error.headers)


class BodyReader:
    """Reads bodies of at most `max_bytes`, counted in the reservation of the request."""

    def __init__(self, max_bytes: int, min_rate: int = 16 * 2**10) -> None:
        """`min_rate`: bytes per second that have to arrive, after the first 20 seconds."""
        self._max_bytes = max_bytes
        self.min_rate = min_rate

    async def read(
        self, scope: Scope, receive: Receive, max_bytes: int | None = None
    ) -> bytes | bytearray:
        """The whole body of a request; `max_bytes` may lower the limit.

        Raises TooLarge, RequestTimeout when the body does not arrive, Unavailable when there is no
        memory for it, ClientDisconnect when the client disconnects before its end.
        """
        held: Reservation = scope["held"]
        limit = min(self._max_bytes, max_bytes or self._max_bytes)
        taken = 0
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                if len(value) > 18 or int(value) > limit:
                    raise _too_large(limit)
                # All of it at once: of many concurrent bodies, those with memory are read
                # completely, and the others are refused before anything of them is read.
                taken = int(value)
                held.take(taken)
        body: bytes | bytearray = b""
        if taken > _COLLECTED and (collect := scope.get("collect")) is not None:
            whole = bytearray()
            body = whole if collect(whole) else body
        try:
            async with asyncio.timeout(_BODY_TIME) as timeout:
                until = timeout.when() or 0.0
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    part: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) + len(part) > limit:
                        raise _too_large(limit)
                    if (size := len(body) + len(part)) > taken:
                        held.take(size - taken)
                        taken = size
                    timeout.reschedule(until + size / self.min_rate)
                    if isinstance(body, bytearray):
                        body += part
                    elif not body:
                        body = part
                    else:
                        body = bytearray(body)
                        body += part
        except TimeoutError:
            raise RequestTimeout(
                "The body did not arrive in time (server.min_body_bytes_per_second)",
                {"received": len(body)},
            ) from None
        return body


def _too_large(limit: int) -> TooLarge:
    return TooLarge("Body too large", {"limit": limit})


def decode(body: Buffer | msgspec.Raw, decoder: msgspec.json.Decoder[T], where: str = "") -> T:
    """Decode JSON; raises BadRequest that names the field and what was expected.

    `where` is put before the path of a field, for a value inside of a larger body.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        field, expected, found = explain(str(error))
        if found == "nothing":
            expected = _expected_of(decoder, field)
        but = f", found {found}" if found else ""  # nothing where a bound is exceeded
        raise BadRequest(
            f"{field or where or 'body'}: expected {expected}{but}",
            {"field": field} if field else {},
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not bytes(memoryview(body)[:_MAX_BLANK]).strip():
            raise BadRequest("Expected a JSON body, found nothing") from None
        raise BadRequest(f"Malformed JSON: {error}") from None
    except RecursionError:
        raise BadRequest("Malformed JSON: nested too deeply") from None


def _expected_of(decoder: msgspec.json.Decoder[Any], field: str) -> str:
    """The type of a Struct's field in words, for one that is missing."""
    info = msgspec.inspect.type_info(decoder.type)
    for known in getattr(info, "fields", ()):
        if known.encode_name == field:
            kind = known.type.type if isinstance(known.type, Metadata) else known.type
            return _KINDS.get(type(kind).__name__, "a value")
    return "a value"


def query(scope: Scope, limit: int) -> dict[str, list[str]]:
    """The query's parameters, each with all its values, "" for one without a value.

    Raises BadRequest beyond `limit` values.
    """
    text = scope["query_string"].decode("latin-1")
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=limit)
    except ValueError:
        raise BadRequest(f"query: expected at most {limit} parameters") from None


def check_utf8(body: bytes | bytearray) -> None:
    """Raise BadRequest when a JSON body is not UTF-8; parts kept as Raw are never decoded."""
    if (offset := not_utf8_at(body)) is not None:
        raise BadRequest(f"Malformed JSON: not UTF-8 at byte {offset}")
