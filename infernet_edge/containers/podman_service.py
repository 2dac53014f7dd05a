"""A `podman system service` of the node's own, for machines on which none is set up."""

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

# Seconds without a connection after which it ends by itself, if the node was killed. A node that
# runs ends it sooner (connection.py), so it does not end in the moment in which it is needed.
_LIFETIME = 60
_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 3.0
_LAST_WORDS_TIMEOUT = 0.5

# What systemd says to the node is not for Podman, which would hand some of it to containers.
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


class Daemon:
    """Starts and ends the process; `url` is where it listens, the same one until `stop()`."""

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

        Raises EngineError when Podman is not installed, or with what it said when it ended.
        """
        await self.end()
        program = shutil.which("podman")
        if program is None:
            raise EngineError(
                "Podman is not installed. Install it with: apt-get install podman; or start the"
                " containers by other means and set manage_containers to false"
            )
        if self._folder is not None and not self._folder.path.is_dir():
            await self.stop()  # another program removed it
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
            cwd=self._folder.path,  # conmon leaves a file "oom" where it was started
            # Ctrl-C on the terminal is for the node, which needs Podman to stop its containers.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read_errors(self.process))
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while not await _listens(self._socket):
                    if not self.running:
                        await self._reader
                        raise EngineError(f"podman system service ended: {self._words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.end()
            raise EngineError(
                f"podman system service did not start within {_START_TIMEOUT:g} seconds:"
                f" {self._words()}"
            ) from None

    async def stop(self) -> None:
        """End it for good, and remove its folder."""
        await self.end()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    async def end(self) -> None:
        """End it, if it runs. Containers go on without it; `start()` starts it again."""
        if self.process is not None:
            await _end(self.process)
            self.process = None
        if self._reader is not None:
            # Its end closes the pipe; what Podman started may hold that open for ever.
            await asyncio.wait({self._reader}, timeout=_LAST_WORDS_TIMEOUT)
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            return
        # By pieces: a line may be of any length.
        while piece := await process.stderr.read(4096):
            text = piece.decode("utf-8", "replace")
            self._last_lines.extend(line for line in text.splitlines() if line.strip())

    def _words(self) -> str:
        return "; ".join(self._last_lines)[-500:] or "without a word"


async def _end(process: asyncio.subprocess.Process) -> None:
    # Podman without root runs itself once more, in a user namespace: SIGTERM it hands on to that
    # process, SIGKILL has to go to both.
    for number, send in ((signal.SIGTERM, os.kill), (signal.SIGKILL, os.killpg)):
        if process.returncode is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            send(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
    # Soon after its start it may end without having handed anything on.
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
    """In memory and with a short path, where the system provides that."""
    return TemporaryFolder(parent=next(iter(runtime_folders()), None))


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for Podman: that of the node without what systemd says to the node."""
    return {name: value for name, value in environment.items() if name not in _OURS}
