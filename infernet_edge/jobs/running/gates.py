"""Lets the jobs of a container wait in its queue while the container sleeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infernet_edge.containers.service import Service
from infernet_edge.jobs.runs import Run, ServiceQueue

Start = Callable[[ServiceQueue, Run], None]


class QueueGate:
    """The queue of one service, as what stops and starts its container sees it."""

    __slots__ = ("_queue", "_start")

    def __init__(self, queue: ServiceQueue, start: Start) -> None:
        self._queue = queue
        self._start = start

    @property
    def is_closed(self) -> bool:
        """Whether all that is not in the container yet waits."""
        return self._queue.slots.is_closed

    @property
    def used(self) -> int:
        """How many jobs are in the container."""
        return self._queue.slots.used

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return self._queue.slots.waiting

    def watch(self, on_change: Callable[[], None] | None) -> None:
        """Call this when waiting begins or ceases while it is closed, and with the last job."""
        self._queue.slots.on_change = on_change

    def close(self) -> None:
        """Let no further job into the container; those in it go on."""
        self._queue.slots.close()

    def open(self) -> None:
        """Let the jobs that wait into the container."""
        for run in self._queue.slots.reopen():
            self._start(self._queue, run)


class QueueGates:
    """The gates of all containers."""

    def __init__(self, queues: Mapping[str, ServiceQueue], start: Start) -> None:
        """`start` runs a job that got a slot, and those after it."""
        self._queues = queues
        self._start = start

    def of(self, service: Service) -> QueueGate:
        """That of a configured service."""
        return QueueGate(self._queues[service.id], self._start)

    def resize(self, container: str, slots: int) -> None:
        """Change the slots of a container; with 0 its jobs wait."""
        queue = self._queues[container]
        for run in queue.slots.resize(slots):
            self._start(queue, run)
