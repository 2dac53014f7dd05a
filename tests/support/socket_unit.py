"""A socket unit as systemd has them: starts Podman's API when somebody connects.

with SocketUnit(podman, idle=1) as unit:
    ...  # unit.url, unit.running, unit.starts, unit.pid
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

from tests.support.podman import IsolatedPodman

# What systemd does between fork and exec, sd_listen_fds(3).
_EXEC = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execvp(sys.argv[2], sys.argv[2:])
"""


class SocketUnit:
    """Listens for Podman, which ends after `idle` seconds without a connection."""

    def __init__(self, podman: IsolatedPodman, idle: int) -> None:
        self._podman = podman
        self._idle = idle
        self._path = podman.folder / "unit.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="socket unit", daemon=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self.url = f"unix://{self._path}"
        self.starts = 0

    @property
    def running(self) -> bool:
        """Whether Podman's API runs."""
        return self.pid != 0

    @property
    def pid(self) -> int:
        """That of Podman's API, or 0."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(10)
        self.kill()
        self._listener.close()

    def kill(self) -> None:
        """Kill Podman's API; the next connection starts it again."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if self.running:
                self._stopping.wait(0.02)
            elif select.select([self._listener], [], [], 0.1)[0]:
                self._start()

    def _start(self) -> None:
        command = ["podman", "system", "service", f"--time={self._idle}"]
        number = self._listener.fileno()
        self.starts += 1
        self._process = subprocess.Popen(
            [sys.executable, "-c", _EXEC, str(number), *command],
            env={**os.environ, **self._podman.environment},
            cwd=self._podman.folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(number,),
            start_new_session=True,
        )
