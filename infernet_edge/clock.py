"""The wall clock, for times that are shown and stored; ages are counted in storage/elapsed.py."""

from __future__ import annotations

import time


def milliseconds() -> int:
    """Now, in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
