"""Values in a schema that JSON does not have: TOML has dates, infinity and NaN."""

from __future__ import annotations

import math
from typing import Any


def foreign_value(document: Any) -> tuple[str, Any] | None:
    """The place, a JSON pointer, and the first value that JSON does not have; None for none."""
    waiting = [("", document)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{place}/{escaped(name)}", each) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}/{number}", each) for number, each in enumerate(value)]
        elif not isinstance(value, (str, int, float, type(None))) or _is_infinite(value):
            return place, value
    return None


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def escaped(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
