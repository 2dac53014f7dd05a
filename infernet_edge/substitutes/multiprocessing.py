"""In the place of multiprocessing: py-cpuinfo asks the registers of x86 in another process.

It does so where /proc/cpuinfo of an x86 processor names no model, which no kernel does; on other
processors it imports the names only. This process has failed, as far as it can see.
"""

from __future__ import annotations

from os import cpu_count

__all__ = ["Process", "Queue", "cpu_count"]


class Process:
    """A process that fails at once."""

    exitcode = 1

    def __init__(self, **_settings: object) -> None:
        """Nothing is started."""

    def start(self) -> None:
        """Nothing is started."""

    def is_alive(self) -> bool:
        """It has ended."""
        return False


class Queue:
    """What such a process would answer with."""
