"""Checks of what must always hold. They stay on in the executable, which drops `assert`."""

from __future__ import annotations


class InvariantViolated(AssertionError):
    """A defect of the node: what must always hold does not. Its task fails, and is logged."""


def invariant(holds: bool, text: str) -> None:
    """Raise InvariantViolated with a text that says what is wrong, unless something holds."""
    if not holds:
        raise InvariantViolated(text)
