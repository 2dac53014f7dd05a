"""What is wrong with a configuration, said so that its author can fix it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from infernet_edge.errors import InfernetEdgeError


class Problem(NamedTuple):
    """One mistake: where it is (`containers[1].port`), what stands there, what should."""

    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path or 'the configuration'}: found {self.found}, expected {self.expected}"


class PermissionWarning(str):
    """A warning that others can read a file; the doctor's check of the secrets reports it, too."""

    __slots__ = ()


class ConfigurationError(InfernetEdgeError):
    """A configuration that cannot be used, with all its problems."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = list(problems)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source}: {count}\n{lines}")
