"""Configuration errors and warnings, worded so that the user can fix them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from infernet_edge.errors import InfernetEdgeError


class Problem(NamedTuple):
    """One configuration error: its key (`containers[1].port`), what was found and expected."""

    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path or 'the configuration'}: found {self.found}, expected {self.expected}"


class PermissionWarning(str):
    """A warning that other users can read a file; the doctor's check of secrets reports it too."""

    __slots__ = ()


class Information(str):
    """A note about a key that is read and has no effect here, and need not be changed."""

    __slots__ = ()


class ConfigurationError(InfernetEdgeError):
    """The configuration cannot be used; `problems` lists all errors in it.

    `warnings` are notes on the rest: an unknown key may be the reason why another is missing.
    """

    def __init__(
        self, source: str, problems: Sequence[Problem], warnings: Sequence[str] = ()
    ) -> None:
        self.source = source
        self.problems = list(problems)
        self.warnings = list(warnings)
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = [f"  {problem}" for problem in problems]
        lines += [f"  note: {note}" for note in warnings if not isinstance(note, Information)]
        super().__init__("\n".join([f"{source}: {count}", *lines]))
