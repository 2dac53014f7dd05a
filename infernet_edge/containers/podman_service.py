"""Run `podman system service` as a child process, on machines that have no Podman service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from infernet_edge.errors import EngineError
from infernet_edge.folders import TemporaryFolder, runtime_folders
from infernet_edge.tasks import cancel

# Seconds without a connection after which it exits, if the node was killed. A running node stops it
# earlier (connection.py), so that it does not exit at the moment at which it is needed.
_LIFETIME = 60
_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 3.0
_OUTPUT_TIMEOUT = 0.5

# systemd's variables for the node are not for Podman, which would pass some on to containers.
_SYSTEMD_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


class Daemon:
    """Starts and stops the process; `url` is its address, which does not change until `close()`."""

    def __init__(self) -> None:
        self._folder: TemporaryFolder | None = None
        self.process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=3)

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def _socket(self) -> Path:
        return (self._folder.path if self._folder else Path()) / "podman.sock"

    async def start(self) -> None:
        """Start it and wait until it listens.

        Raises EngineError when Podman is not installed, or with its output when it exits.
        """
        await self.stop()
        program = shutil.which("podman")
        if program is None:
            raise EngineError(
                "Podman is not installed. Install it with: apt-get install podman; or start the"
                " containers yourself and set manage_containers to false"
            )
        if self._folder is not None and not self._folder.path.is_dir():
            await self.close()  # another program removed it
        if self._folder is None:
            self._folder = _new_folder()
        self._socket.unlink(missing_ok=True)
        self._last_lines.clear()
        self.process = await asyncio.create_subprocess_exec(
            *(program, "system", "service", f"--time={_LIFETIME}", self.url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment(os.environ),
            cwd=self._folder.path,  # conmon creates a file "oom" in its current folder
            # Ctrl-C on the terminal must only reach the node, which stops containers with Podman.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read_errors(self.process))
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while not await _listens(self._socket):
                    if not self.running:
                        await self._reader
                        raise EngineError(f"podman system service ended: {self._last_output()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.stop()
            raise EngineError(
                f"podman system service did not start within {_START_TIMEOUT:g} seconds:"
                f" {self._last_output()}"
            ) from None

    async def close(self) -> None:
        """Stop it, and remove its folder."""
        await self.stop()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    async def stop(self) -> None:
        """Stop it, if it runs. Containers keep running; `start()` starts it again."""
        if self.process is not None:
            await _stop(self.process)
            self.process = None
        if self._reader is not None:
            # The reader ends when the pipe closes, but children of Podman may keep it open.
            await asyncio.wait({self._reader}, timeout=_OUTPUT_TIMEOUT)
            await cancel(self._reader)
            self._reader = None

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            return
        # In pieces, not lines: a line may have any length.
        while piece := await process.stderr.read(4096):
            text = piece.decode("utf-8", "replace")
            self._last_lines.extend(line for line in text.splitlines() if line.strip())

    def _last_output(self) -> str:
        return "; ".join(self._last_lines)[-500:] or "without output"


async def _stop(process: asyncio.subprocess.Process) -> None:
    # Rootless Podman runs a second process in a user namespace: it forwards SIGTERM to that one,
    # but SIGKILL has to be sent to both.
    for number, send in ((signal.SIGTERM, os.kill), (signal.SIGKILL, os.killpg)):
        if process.returncode is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            send(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
    # Soon after its start it may exit without having forwarded the signal.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


async def _listens(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _new_folder() -> TemporaryFolder:
    """A folder in memory and with a short path, if the system provides one."""
    return TemporaryFolder(parent=next(iter(runtime_folders()), None))


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for Podman: that of the node without systemd's variables for the node."""
    return {name: value for name, value in environment.items() if name not in _SYSTEMD_VARIABLES}
