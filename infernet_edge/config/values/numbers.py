"""Numbers that are out of range or improbable, which public configurations have.

Keys of the model say so in the `extra` of their Meta: "clamped" is "maximum" or "minimum" where a
number beyond that bound is replaced by it; "milliseconds_from" is a number of seconds from which a
duration was probably meant in milliseconds.
"""

from __future__ import annotations

from typing import Any

from infernet_edge.config.keys.types import bounds, unwrap

# Seconds. Hours of one day, and whole days, are not taken for milliseconds; 180000, which is 50
# hours and the usual time-out in milliseconds, is.
_HOUR, _DAY = 3600, 86400
_CERTAIN = 1_000_000  # seconds, from which all are


def limited(value: Any, hint: Any) -> float | None:
    """The bound that is used instead of a whole number beyond it; None when that is an error."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    side = unwrap(hint)[1].get("clamped")
    minimum, maximum = bounds(hint)
    if side == "maximum" and maximum is not None and value > maximum:
        return maximum
    if side == "minimum" and minimum is not None and value < minimum:
        return minimum
    return None


def milliseconds_note(value: Any, extra: dict[str, Any]) -> str:
    """A note on a duration that was probably meant in milliseconds; "" for others."""
    limit = extra.get("milliseconds_from")
    if limit is None or not isinstance(value, int | float) or value < limit:
        return ""
    rounded = value % _DAY == 0 or (value <= _DAY and value % _HOUR == 0)
    if rounded and value < max(limit, _CERTAIN):
        return ""
    return (
        f"{value:.15g} seconds are {_duration(value)}; if milliseconds are meant, write"
        f" {value / 1000:.15g}"
    )


def _duration(seconds: float) -> str:
    for name, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:g} seconds"
