"""Signals that stop a command: the first one gracefully, another Ctrl+C at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Final

_ECHO_SECONDS: Final = 0.5
"""Signals this soon after the first one are the same: the one-file executable is two processes,
both get a terminal's Ctrl+C, and the outer one passes it on."""


def end_until_handled() -> None:
    """Let Ctrl+C end this process at once, until `Interrupts` handles it.

    For commands that have nothing to undo before: KeyboardInterrupt would be ignored where it is
    raised in a callback of the interpreter.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Interrupts:
    """Handles the signals of one command, from its creation until the event loop is closed."""

    def __init__(
        self,
        numbers: Iterable[int],
        stop: Callable[[int], None],
        abort: Callable[[], None] = lambda: None,
    ) -> None:
        """`stop` is called with the first signal; `abort`, before this process ends at once."""
        self._stop = stop
        self._abort = abort
        self._stopped_at: float | None = None
        for number in numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._handle, number)

    def _handle(self, number: int) -> None:
        now = time.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
            self._stop(number)
        elif number == signal.SIGINT and now - self._stopped_at >= _ECHO_SECONDS:
            self._abort()
            # As without a handler, so that the shell knows what ended it.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
