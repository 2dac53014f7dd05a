"""What the orchestrator moves about: jobs on their way, their outcomes, containers with a line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from infernet_edge.containers.service import Service
from infernet_edge.jobs.concurrency import SlotQueue
from infernet_edge.jobs.contents import Content
from infernet_edge.jobs.job import Job
from infernet_edge.memory import Reservation


class Outcome:
    """How a job ended, on its way to the store: `write` begins to store it."""

    __slots__ = ("job", "memory", "write")

    def __init__(
        self,
        job: Job,
        write: Callable[[], asyncio.Future[None]],
        memory: Sequence[Reservation] = (),
    ) -> None:
        self.job = job
        self.write = write
        self.memory = memory

    def release(self) -> None:
        """It is stored, and need not be held."""
        for reservation in self.memory:
            reservation.release()


class Run:
    """A job on its way: the container it is at, the input for that, the outputs so far.

    Short outputs are held in `outputs`; once they are long together, `kept` of them are on the
    disk. `size` is the length of all of them.
    """

    __slots__ = ("data", "job", "kept", "memory", "outputs", "position", "size", "started")

    def __init__(self, job: Job, memory: Reservation) -> None:
        self.job = job
        self.memory = memory  # for what is held between two containers
        self.position = 0
        self.data: bytes | Content | None = None
        self.outputs: list[bytes | bytearray] = []
        self.kept = 0
        self.size = 0
        self.started = False


class Station:
    """A container and the queue before it."""

    __slots__ = ("queue", "service")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.queue: SlotQueue[Run] = SlotQueue(service.container.max_concurrency)
