"""What a check finds."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """How something is, what that means, and the command that mends it ("" when nothing does)."""

    level: Literal["ok", "warning", "problem"]
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warning(text: str, remedy: str = "") -> Finding:
    return Finding("warning", text, remedy)


def problem(text: str, remedy: str = "") -> Finding:
    return Finding("problem", text, remedy)
