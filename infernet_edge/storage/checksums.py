"""Checksums of stored values: a bit that flips on the disk must not
change a result unnoticed."""

from __future__ import annotations

import zlib

from infernet_edge.errors import InfernetEdgeError

Buffer = bytes | bytearray | memoryview


class Damaged(InfernetEdgeError):
    """A stored value is not what was stored."""


def checksum(text: Buffer | None, *names: int | bytes) -> int:
    """The CRC-32 (RFC 1952) of a text and of the names of its location.

    The location is part of it, so that a text that is found in the wrong row fails the check.
    """
    crc = 0
    for name in names:
        crc = zlib.crc32(name if isinstance(name, bytes) else b"%d," % name, crc)
    return zlib.crc32(b"-" if text is None else text, crc)


def check(stored: int | None, text: Buffer | None, *names: int | bytes, what: str) -> None:
    """Raise Damaged when a text does not match its checksum; older texts have none (None)."""
    if stored is not None and stored != checksum(text, *names):
        raise Damaged(f"{what} was damaged on the disk")
