"""What the orchestrator works with: running jobs, their outcomes, containers with their queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from infernet_edge.containers.operating.listing import Load
from infernet_edge.containers.service import Service
from infernet_edge.jobs.concurrency import SlotQueue
from infernet_edge.jobs.contents import Input
from infernet_edge.jobs.job import STATUS_NAMES, Job
from infernet_edge.memory import Reservation

OUTCOMES: Final = ("success", "failed", "cancelled")
"""How jobs end, by name."""


class Outcome:
    """How a job ended, and in which container, until that is stored; `write` starts to store it."""

    __slots__ = ("container", "job", "memory", "status", "write")

    def __init__(
        self,
        job: Job,
        container: str,
        status: int,
        write: Callable[[], asyncio.Future[None]],
        memory: Sequence[Reservation] = (),
    ) -> None:
        self.job = job
        self.container = container
        self.status = status
        self.write = write
        self.memory = memory

    @property
    def name(self) -> str:
        """One of OUTCOMES."""
        return "cancelled" if self.job.is_cancelled else STATUS_NAMES[self.status]

    def release(self) -> None:
        """Release its memory, once it is stored."""
        for reservation in self.memory:
            reservation.release()


class Progress(NamedTuple):
    """The container in which a job is, or waits: its position in that queue, from 1."""

    container: str
    position: int | None


class Run:
    """A job in progress: the position of its container, the input for that, the outputs so far.

    Short outputs are in `outputs`; when they get long together, they are stored, and `kept` is
    their number. `size` is the length of all outputs in bytes. `call` is the task that calls the
    container: a cancellation of the job interrupts it. `deadline` is the timer of a job that has
    one, until it starts.
    """

    __slots__ = (
        *("call", "data", "deadline", "job", "kept", "memory", "outputs", "position", "size"),
        "started",
    )

    def __init__(self, job: Job, memory: Reservation) -> None:
        self.job = job
        self.memory = memory  # for what is in memory between two containers
        self.position = 0
        self.data: Input | None = None
        self.outputs: list[bytes | bytearray] = []
        self.kept = 0
        self.size = 0
        self.started = False
        self.deadline: asyncio.TimerHandle | None = None
        self.call: asyncio.Task[None] | None = None

    def drop_input(self) -> None:
        """Release the input: it is no longer needed, or read again later."""
        if isinstance(self.data, memoryview):
            self.memory.release(len(self.data))
        self.data = None

    @property
    def container(self) -> str:
        """The container that it is in, or waits for."""
        return self.job.containers[self.position]


class ServiceQueue:
    """A service container and the queue for its slots."""

    __slots__ = ("service", "slots")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.slots: SlotQueue[Run] = SlotQueue(service.container.max_concurrency)

    def load(self) -> Load:
        """How many jobs the container has."""
        return Load(self.slots.used, self.slots.slots, self.slots.waiting)
