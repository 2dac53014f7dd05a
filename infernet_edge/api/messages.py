"""Bodies in and answers out: JSON within bounds, errors as ErrorResponses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec.inspect import Metadata
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from infernet_edge.errors import ApiError, BadRequest, RequestTimeout, TooLarge, Unavailable
from infernet_edge.schema import ErrorResponse, encoder
from infernet_edge.validation import explain

T = TypeVar("T")

_MOST_TOGETHER = 64 * 2**20  # bytes of all bodies that are being read
_BODY_TIME = 60.0  # seconds in which a body has to arrive
NOSNIFF = (b"x-content-type-options", b"nosniff")  # a browser shall not take it for a page
_JSON = [
    (b"content-type", b"application/json"),
    NOSNIFF,
    (b"cache-control", b"no-store"),  # answers are for one caller, and soon out of date
]
_KINDS = {
    "ListType": "a list",
    "StrType": "text",
    "RawType": "an object",  # the data of a job
    "BoolType": "true or false",
    "IntType": "a whole number",
}


class Answer:
    """A JSON response; `content` is encoded unless it is bytes already."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
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
            "headers": [*_JSON, length, *self.headers],
        }
        await send(head)
        await send({"type": "http.response.body", "body": self.body})


def error_answer(error: ApiError) -> Answer:
    """The ErrorResponse for an error."""
    return Answer(ErrorResponse(error.message, error.params), error.status, error.headers)


class BodyReader:
    """Reads bodies within bounds: `most` bytes for each, and a few times that for all together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = max(_MOST_TOGETHER, 4 * most)

    async def read(self, scope: Scope, receive: Receive, most: int | None = None) -> bytes:
        """The whole body of a request, of at most `most` bytes where that is less.

        Raises TooLarge, RequestTimeout when the body does not arrive, Unavailable when too many
        others do, ClientDisconnect when the client goes away before its end.
        """
        most = min(self._most, most or self._most)
        for name, value in scope["headers"]:
            if name == b"content-length" and _exceeds(value, most):
                raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_TIME):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    part: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    size += len(part)
                    self._room -= len(part)
                    if size > most:
                        raise _too_large(most)
                    if self._room < 0:
                        raise Unavailable("Too many large requests at the same time")
                    parts.append(part)
        except TimeoutError:
            raise RequestTimeout(f"The body did not arrive within {_BODY_TIME:g} s") from None
        finally:
            self._room += size
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _exceeds(length: bytes, most: int) -> bool:
    return length.isdigit() and (len(length) > 18 or int(length) > most)


def _too_large(most: int) -> TooLarge:
    return TooLarge("Body too large", {"limit": most})


def decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], where: str = "") -> T:
    """Decode JSON; raises BadRequest that names the field and what was expected.

    `where` is put before the path of a field, for a value inside of a larger body.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        field, expected, found = explain(str(error))
        if found == "nothing":
            expected = _expected_of(decoder, field)
        raise BadRequest(
            f"{field or where or 'body'}: expected {expected}, found {found}",
            {"field": field} if field else {},
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not bytes(body).strip():
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


def query(scope: Scope, most: int) -> dict[str, list[str]]:
    """The query's parameters, each with all its values; raises BadRequest beyond `most` values."""
    try:
        return parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=most)
    except ValueError:
        raise BadRequest(f"query: expected at most {most} parameters") from None


def check_utf8(body: bytes) -> None:
    """Raise BadRequest when a JSON body is not UTF-8; parts kept as text are not decoded else."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"Malformed JSON: not UTF-8 at byte {error.start}") from None
