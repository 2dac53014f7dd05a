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


class ConfigurationError(InfernetEdgeError):
    """The configuration cannot be used; `problems` lists all errors in it."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = list(problems)
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source}: {count}\n{lines}")
