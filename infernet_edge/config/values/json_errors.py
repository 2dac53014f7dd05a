"""Where a text is not JSON, and why."""

from __future__ import annotations

import json
import re


def json_error(text: str, error: str) -> str:
    """Where a text is not JSON, and why. `error` is what msgspec says, with the byte at its end.

    The content is not shown: it may be a secret.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as found:
        advice = _advice(text, found)
        return f"at line {found.lineno}, column {found.colno} ({found.msg}{advice})"
    except (ValueError, RecursionError):  # of numbers with thousands of digits
        return _msgspec_place(text, error)
    # What Python's module accepts and JSON does not have, such as NaN.
    return _msgspec_place(text, error)


def _msgspec_place(text: str, error: str) -> str:
    """The place that msgspec names, as line and column."""
    position = re.search(r"\(byte (\d+)\)", error)
    before = text.encode()[: int(position[1]) if position else 0].decode("utf-8", "ignore")
    return f"at {place_after(before)} ({error})"


def _advice(text: str, error: json.JSONDecodeError) -> str:
    """What to change, for errors that are frequent; "" for others."""
    rest, before = text[error.pos :].lstrip(), text[: error.pos].rstrip()
    if rest.startswith(("//", "/*", "#")):
        return ": JSON has no comments"
    if rest.startswith("'"):
        return ": JSON has double quotes only"
    if rest.startswith(","):  # where Python 3.13 and later report it
        before, rest = f"{before},", rest[1:].lstrip()
    if before.endswith(",") and rest.startswith(("}", "]")):
        return f": remove the comma before {rest[0]}"
    return ""


def place_after(before: str) -> str:
    """The line and the column, from 1, of what follows a text."""
    line = before.count("\n") + 1
    return f"line {line}, column {len(before) - (before.rfind(chr(10)) + 1) + 1}"
