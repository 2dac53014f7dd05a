"""Inputs of jobs that wait: in memory as far as there is room; the others stay on the disk."""

from __future__ import annotations

from typing import Final

from infernet_edge.jobs.contents import PIECE
from infernet_edge.jobs.job import Job
from infernet_edge.memory import MemoryBudget

_LONG: Final = 1 / 16  # of the memory: for inputs that are longer than a piece


class HeldInputs:
    """The inputs in memory, as `data` of their jobs. A long one is a view, which is not copied."""

    def __init__(self, memory: MemoryBudget) -> None:
        self._held = memory.reserve("inputs")
        self._long = 0  # bytes of that for long inputs
        self._max_long = int(memory.limit * _LONG)

    def hold(self, job: Job) -> None:
        """Keep the input of a job that was stored until it is needed, if there is room."""
        data, job.data = job.data, None
        if not data:
            return
        is_long = len(data) > PIECE
        if is_long and self._long + len(data) > self._max_long:
            return
        if self._held.try_take(len(data)):
            job.data = memoryview(data) if is_long else data
            self._long += len(data) if is_long else 0

    def release(self, job: Job) -> bytes | memoryview:
        """The input of a job, b"" when it is not in memory; it is no longer counted here."""
        data, job.data = job.data or b"", None
        self._held.release(len(data))
        self._long -= len(data) if len(data) > PIECE else 0
        return data
