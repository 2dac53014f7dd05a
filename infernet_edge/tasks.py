"""Background tasks: they are held by whoever began them, cancelled and awaited at the end."""

from __future__ import annotations

import asyncio
from typing import Any


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended; what they raise is nobody's business then."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Deadline:
    """Until when several waits for one answerer may take; moves on whenever it has answered.

    So a silent one costs `seconds` once, and one that answers is given the time that it needs.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.until = 0.0  # loop time
        self.extend()

    def extend(self) -> None:
        """Count from now: there was an answer."""
        self.until = asyncio.get_running_loop().time() + self._seconds
