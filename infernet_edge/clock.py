"""The wall clock, for times that are shown and stored; ages are counted in storage/elapsed.py."""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime
from typing import Final

_UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex(2)
_LARGE_ENOUGH: Final = 512  # bytes for struct timex, which is 208 on 64-bit machines
_LATEST: Final = 253_402_300_799_999  # the end of the year 9999


def milliseconds() -> int:
    """Now, in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def iso_time(moment: int) -> str:
    """Milliseconds since 1970 as text of ISO 8601 in UTC, such as 2026-11-27T08:45:14.123Z.

    A time that has no such text, from a damaged clock or row, becomes the nearest that has one.
    """
    seconds, rest = divmod(min(max(0, moment), _LATEST), 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z"


def follows_a_server() -> bool:
    """Whether a time server sets the clock, by the state of the kernel.

    Reading it, with modes of 0, needs no permission (adjtimex(2)).
    """
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_LARGE_ENOUGH))
    except (OSError, AttributeError):  # another system, or another C library
        return False
    return bool(0 <= state < _UNSYNCHRONISED)
