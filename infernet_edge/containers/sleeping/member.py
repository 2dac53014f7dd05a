"""What is known of one container that may sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from infernet_edge.backoff import Backoff
from infernet_edge.containers.service import Service
from infernet_edge.containers.sleeping.decision import Standing, State
from infernet_edge.containers.timing import Timing

MAX_TURN: Final = 600.0
"""Seconds for which a container may go on at most while another is waited for."""

_TURN_FOR_START: Final = 4.0  # times the time that its start took: how long it may go on at least


class Gate(Protocol):
    """The queue of one container."""

    @property
    def is_closed(self) -> bool:
        """Whether all that is not in the container yet waits."""

    @property
    def used(self) -> int:
        """How many jobs are in the container."""

    @property
    def waiting(self) -> int:
        """How many wait for it."""

    def watch(self, on_change: Callable[[], None] | None) -> None:
        """Call this when waiting begins or ceases while it is closed, and with the last job."""

    def close(self) -> None:
        """Let no further job into the container."""

    def open(self) -> None:
        """Let the jobs that wait into the container."""


class Gates(Protocol):
    """The queues of all containers."""

    def of(self, service: Service) -> Gate:
        """That of a configured service."""


class Member:
    """One container that may sleep.

    `requested` is set while it is wanted without a job; `for_jobs` when jobs waited as it began to
    start. `failures` are the pauses after starts that failed: until the end of one (`retry`) jobs
    fail at once, for the reason in `problem`.
    """

    def __init__(self, service: Service, gate: Gate, timing: Timing) -> None:
        self.service = service
        self.gate = gate
        self.state: State = "asleep"
        self.ready_since = self.idle_since = time.monotonic()
        self.start_seconds = 0.0
        self.wanted_since: float | None = None
        self.requested = False
        self.by_operator = False
        self.for_jobs = False
        self.failures = Backoff(timing.retry, timing.retry_limit)
        self.retry: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.problem = ""
        self.is_member = True  # until it may not sleep any more, or is removed
        self.is_removed = False

    @property
    def has_jobs(self) -> bool:
        """Whether jobs are in it or wait for it."""
        return self.gate.waiting > 0 or self.gate.used > 0

    def end_retry(self) -> None:
        """Let jobs start it again."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None

    def standing(self, name: str, turn: float, *, can_start: bool) -> Standing:
        """What the decision sees of it; `turn` in seconds."""
        container = self.service.container
        wanted = self.wanted_since if can_start and self.retry is None else None
        return Standing(
            id=name,
            state="stopping" if self.is_removed and self.state != "asleep" else self.state,
            group=container.exclusive,
            is_running=self.gate.used > 0,
            is_waiting=self.gate.waiting > 0,
            idle_since=self.idle_since,
            idle_timeout=container.idle_timeout,
            ready_since=self.ready_since,
            turn=min(max(turn, _TURN_FOR_START * self.start_seconds), MAX_TURN),
            wanted_since=wanted,
            may_displace=self.has_jobs or self.by_operator,
            is_abandoned=self.state == "waking" and self.for_jobs and not self.has_jobs,
        )
