"""When a container whose process is not visible is checked with Podman."""

from __future__ import annotations

import time

from infernet_edge.backoff import Backoff
from infernet_edge.containers.readiness import port_seems_closed
from infernet_edge.containers.timing import Timing


class PortChecks:
    """The checks of one container, by its port."""

    def __init__(self, timing: Timing) -> None:
        self._polls = Backoff(timing.port_poll_busy, timing.reconcile)
        self._next = 0.0

    def reset(self) -> None:
        """Another container has this port now, or the same answers again."""
        self._polls.reset()

    async def is_needed(self, port: int) -> bool:
        """Whether the container seems to have stopped, and is to be checked."""
        if not await port_seems_closed(port):
            self._polls.reset()
            return False
        # A program may close its port and keep running, so the interval of the checks grows.
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._polls.next()
        return True
