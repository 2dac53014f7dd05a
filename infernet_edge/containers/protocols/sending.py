"""The parts of a request as the HTTP client takes them: body, headers, query."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.protocols.call import RequestBody
from infernet_edge.http_client.connection import Payload
from infernet_edge.http_client.heads import Headers
from infernet_edge.http_client.urls import Query

_PIECE = 256 * 2**10  # bytes of a body in memory that are written at once
_WRITE_BYTES = 2**20  # bytes of a body that are written to the socket at once
_JSON: Final = ("Content-Type", "application/json")


def headers_of(container: Container) -> Headers:
    """The configured headers, the bearer token, and that the body is JSON unless they say another.

    Of those with the same name in another case the last one is sent.
    """
    if not container.headers and not container.bearer:
        return (_JSON,)
    headers = {"content-type": _JSON}
    headers |= {name.lower(): (name, _text(each)) for name, each in container.headers.items()}
    if container.bearer:
        headers["authorization"] = "Authorization", f"Bearer {container.bearer.reveal()}"
    return tuple(headers.values())


def query_of(container: Container) -> Query:
    """The configured query parameters."""
    if not container.query:
        return ()
    return tuple((name, _text(value)) for name, value in container.query.items())


def _text(value: str | float | bool | Secret) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.reveal() if isinstance(value, Secret) else str(value)


def sent(body: bytes | RequestBody) -> Payload:
    """A body for the HTTP client: long ones in pieces, so that the event loop is not blocked."""
    if isinstance(body, bytes):
        return body if len(body) <= _WRITE_BYTES else _in_pieces(memoryview(body))
    return _pieces(body)


async def _pieces(body: RequestBody) -> AsyncGenerator[bytes | memoryview, None]:
    yield body.before
    if isinstance(body.data, memoryview):
        async for piece in _in_pieces(body.data):
            yield piece
    else:
        async for piece in body.data.pieces():
            yield piece
    yield body.after


async def _in_pieces(data: memoryview) -> AsyncGenerator[bytes | memoryview, None]:
    for start in range(0, data.nbytes, _PIECE):
        yield data[start : start + _PIECE]
