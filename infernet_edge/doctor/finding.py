"""The result of a check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

Level = Literal["ok", "unknown", "warning", "problem"]

_WORST_FIRST: tuple[Level, ...] = ("problem", "warning", "unknown", "ok")


class Finding(Struct, frozen=True):
    """One result of a check: its level, its text, and how to fix it.

    `level` is "unknown" for what could not be checked. `remedy` is a text that says what to do;
    `command` is one line of a POSIX shell that fixes it when it is pasted as it is. Each may be "".
    """

    level: Level
    text: str
    remedy: str = ""
    command: str = ""


class Advice(NamedTuple):
    """How to fix something: a text, or a command, or both."""

    remedy: str = ""
    command: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def not_checked(reason: str, remedy: str = "") -> Finding:
    """What could not be checked, and why."""
    return Finding("unknown", f"not checked: {reason}", remedy)


def warning(text: str, remedy: str = "", *, command: str = "") -> Finding:
    return Finding("warning", text, remedy, command)


def problem(text: str, remedy: str = "", *, command: str = "") -> Finding:
    return Finding("problem", text, remedy, command)


def together(findings: Sequence[Finding]) -> Finding:
    """Several findings of one check as one: the worst level, and all that is not ok in order."""
    level = next(each for each in _WORST_FIRST if any(each == found.level for found in findings))
    shown = [found for found in findings if found.level != "ok"] or findings
    return Finding(
        level,
        "; ".join(found.text for found in shown),
        "; ".join(dict.fromkeys(found.remedy for found in shown if found.remedy)),
        " && ".join(dict.fromkeys(found.command for found in shown if found.command)),
    )
