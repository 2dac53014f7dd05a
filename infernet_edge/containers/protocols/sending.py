"""The parts of a request as the HTTP client takes them: body, headers, query."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.protocols.call import RequestBody
from infernet_edge.errors import StorageError
from infernet_edge.storage.checksums import Damaged

_PIECE = 256 * 2**10  # bytes of a body in memory that are written at once
_WRITE_BYTES = 2**20  # bytes of a body that are written to the socket at once


def headers_of(container: Container) -> dict[str, str]:
    """The configured headers, and the bearer token."""
    headers = {name: _text(value) for name, value in container.headers.items()}
    if container.bearer:
        headers["Authorization"] = f"Bearer {container.bearer.reveal()}"
    return headers


def query_of(container: Container) -> tuple[tuple[str, str], ...]:
    """The configured query parameters."""
    if not container.query:
        return ()
    return tuple((name, _text(value)) for name, value in container.query.items())


def _text(value: str | float | bool | Secret) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.reveal() if isinstance(value, Secret) else str(value)


def sent(
    body: bytes | RequestBody, problems: list[StorageError | Damaged]
) -> bytes | io.BytesIO | AsyncIterator[bytes | memoryview]:
    """A body for aiohttp: long ones are sent in pieces, so that the event loop is not blocked."""
    if isinstance(body, bytes):
        return body if len(body) <= _WRITE_BYTES else io.BytesIO(body)
    return _pieces(body, problems)


async def _pieces(
    body: RequestBody, problems: list[StorageError | Damaged]
) -> AsyncIterator[bytes | memoryview]:
    """A body in pieces. aiohttp wraps errors that are raised here, so `problems` keeps them."""
    yield body.before
    try:
        if isinstance(body.data, memoryview):
            for start in range(0, body.data.nbytes, _PIECE):
                yield body.data[start : start + _PIECE]
        else:
            async for piece in body.data.pieces():
                yield piece
    except (StorageError, Damaged) as error:
        problems.append(error)
        raise
    yield body.after
