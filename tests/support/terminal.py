"""The command line on a terminal: a pseudo-terminal, with somebody who answers."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

from tests.support.process import ROOT

_COMMAND = """
import fcntl, signal, sys, termios
from infernet_edge.cli.main import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl+C on this terminal reaches this process
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
sys.exit(main(sys.argv[1:]))
"""


def on_a_terminal(answers: list[str], *arguments: str, also: bytes = b": ") -> tuple[int, str]:
    """Run infernet-edge, answer each question in turn; returns exit code and screen.

    A question ends with ": "; what ends with `also` is answered too.
    """
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    screen, waiting = b"", list(answers)
    with os.fdopen(master, "rb+", buffering=0):
        while select.select([master], [], [], 30)[0]:
            try:
                screen += os.read(master, 4096)
            except OSError:  # the other end is closed (EIO on Linux)
                break
            if waiting and screen.endswith((b": ", also)):
                os.write(master, waiting.pop(0).encode())
    return process.wait(30), screen.decode().replace("\r\n", "\n")
