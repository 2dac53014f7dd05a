"""The header Idempotency-Key, and the checksum that recognises a repeated request."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Final

from starlette.types import Scope

from infernet_edge.errors import BadRequest
from infernet_edge.jobs.contents import Buffer

MAX_KEY: Final = 255
"""Characters of a key."""

_NAME: Final = b"idempotency-key"
_KEY = re.compile(rb"[\x21-\x7e]+")
_LONG = 256 * 2**10  # bytes of a body whose checksum is computed in a thread


def idempotency_key(scope: Scope) -> str:
    """The key of a request, "" when it has none; raises BadRequest for one that is not valid."""
    found = [value for name, value in scope["headers"] if name == _NAME]
    if not found:
        return ""
    if len(found) > 1:
        raise _error("once, found twice")
    if not _KEY.fullmatch(found[0]) or len(found[0]) > MAX_KEY:
        raise _error(f"1 to {MAX_KEY} visible ASCII characters")
    return str(found[0].decode())


def refuse_key(scope: Scope) -> None:
    """Raise BadRequest when a request has a key: its answer cannot be given again."""
    if any(name == _NAME for name, _ in scope["headers"]):
        raise _error("none: the answer of a stream cannot be repeated")


def _error(expected: str) -> BadRequest:
    return BadRequest(f"header {_NAME.decode()}: expected {expected}", {"field": _NAME.decode()})


async def request_checksum(path: str, body: Buffer) -> bytes:
    """The SHA-256 of the path and the body of a request."""
    if len(body) < _LONG:
        return _checksum(path, body)
    return await asyncio.to_thread(_checksum, path, body)


def _checksum(path: str, body: Buffer) -> bytes:
    found = hashlib.sha256(path.encode() + b"\0")
    found.update(body)
    return found.digest()
