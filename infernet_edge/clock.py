"""The wall clock, for times that are shown and stored; ages are counted in storage/elapsed.py."""

from __future__ import annotations

import time
from datetime import UTC, datetime


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


_LATEST = 253_402_300_799_999  # the end of the year 9999
