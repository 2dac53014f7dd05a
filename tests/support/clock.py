"""A steady clock that only the test moves."""

from __future__ import annotations


class Clock:
    """Gives `now`, in seconds, when it is called."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
