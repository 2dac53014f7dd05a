"""Errors in the middle of a stream of server-sent events.

The form: https://html.spec.whatwg.org/multipage/server-sent-events.html. llama.cpp, vLLM and
OpenAI send `data: {"error": ...}`, older llama.cpp `error: {...}`, others `event: error` before it.
"""

from __future__ import annotations

from typing import Final, Protocol

_MAX_EVENT: Final = 16 * 2**10  # bytes of a line that are looked at; an error is short
_ERROR: Final = b"error"


class Check(Protocol):
    """Raises for an event that is an error; `is_error` is whether its type says so."""

    def __call__(self, content: bytes, *, is_error: bool) -> None: ...


class EventWatch:
    """Called with each chunk of a stream; gives `check` the events that may be errors."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._line = b""  # the beginning of the one that is not complete
        self._is_error = False

    def __call__(self, chunk: bytes) -> None:
        """Look at the lines that this chunk completes."""
        *lines, rest = (self._line + chunk).split(b"\n")
        self._line = rest[:_MAX_EVENT]
        for line in lines:
            if _ERROR in line or self._is_error:
                self._look_at(line)

    def _look_at(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.strip()
        if field == b"event":
            self._is_error = value == _ERROR
        elif field in (b"data", _ERROR) and value.startswith(b"{") and len(value) <= _MAX_EVENT:
            self._check(value, is_error=self._is_error or field == _ERROR)
        elif not line.strip():
            self._is_error = False  # the end of the event
