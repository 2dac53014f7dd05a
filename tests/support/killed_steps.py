"""Runs something again and again, killed before each of its steps on the disk in turn.

A step is what changes names or makes a file durable: audit events of Python (PEP 578) and fsync. A
child of this process, which has imported everything, does the work and gets SIGKILL; `check` then
looks at what is left.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_EVENTS: Final = {
    *("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.chown", "os.truncate"),
    *("sqlite3.connect", "fcntl.flock"),
}
_MAX_STEPS: Final = 300


def kill_at_each_step(
    set_up: Callable[[], None], work: Callable[[], object], check: Callable[[int], None]
) -> int:
    """Returns the number of steps; raises AssertionError when `work` fails without a kill."""
    for step in range(1, _MAX_STEPS):
        set_up()
        child = os.fork()
        if not child:
            _work_and_die(step, work)
        _, status = os.waitpid(child, 0)
        check(step)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0, f"failed at step {step}: {status}"
            return step - 1
    raise AssertionError(f"more than {_MAX_STEPS} steps")


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _work_and_die(step: int, work: Callable[[], object]) -> None:
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _EVENTS or (event == "open" and _writes(arguments[2])):
            count()

    real = os.fsync

    def fsync(descriptor: int) -> None:
        count()
        real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(hook)
    code = 1
    try:
        code = int(work() or 0)  # type: ignore[call-overload]
    finally:
        sys.stdout.flush()
        os._exit(code)
