"""Finding Podman, finding it again, and starting it when it is needed.

Podman's API costs 40 to 60 MB and 64 wake-ups a second while it runs, more than the node. So the
node keeps no connection to it: it runs for as long as something is asked of it and some seconds
more, and is started again by its socket unit, or by this if it is a service of the node's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

from infernet_edge.config.model import Config
from infernet_edge.containers.blocking import EngineUnreachable, Threads
from infernet_edge.containers.podman import Engine, EngineInfo
from infernet_edge.containers.podman_service import Daemon
from infernet_edge.containers.processes import WatchedProcess, listener_pid
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_PING_TIMEOUT = 10.0
_IDLE = 10.0  # seconds without a call after which a service of the node's own is ended
OLDEST = 4  # Podman's version in Debian 12 and Raspberry Pi OS


class Connection:
    """The engine, as long as there is one; `problem` says why there is none."""

    def __init__(self, config: Config, threads: Threads) -> None:
        self._url = config.podman.url
        self._registry = config.docker
        self._threads = threads
        self.daemon = Daemon()
        self._starting = asyncio.Lock()  # held while the service of the node's own starts or ends
        self._calls = 0  # under way
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._listener: WatchedProcess | None = None
        # Whose Podman it was. Another user's has other containers, so once there is one, only
        # another way to the same user's will do.
        self._owner: int | None = None
        self._up = asyncio.Event()
        self.doubted = asyncio.Event()
        self.problem = ""
        self.engine: Engine | None = None
        self.info = EngineInfo("", frozenset())

    @property
    def is_own(self) -> bool:
        """Whether Podman, once there is one, is this user's."""
        return self._owner in (None, os.getuid())

    async def open(self) -> Engine:
        """Find Podman, or start a service of our own.

        Raises EngineError with what to do about it.
        """
        failures = []
        for url in self._candidates():
            try:
                return await self._try(url)
            except EngineError as error:
                failures.append(str(error))
        if self._url:
            raise EngineError(
                f"{failures[0]}. Check podman.url; Podman's own service is started with:"
                " systemctl enable --now podman.socket"
            )
        if not self.is_own:
            raise EngineError("; ".join(failures) or "Podman's socket is gone")
        self._calls += 1
        try:
            await self._start_own()
            return await self._try(self.daemon.url)
        except (EngineError, OSError) as error:
            async with self._starting:
                await self.daemon.stop()
            raise EngineError("; ".join([*failures, str(error)])) from error
        finally:
            self._calls -= 1

    async def run(
        self,
        timeout: float,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Await a method of the engine in a thread, at most `timeout` seconds once Podman runs.

        Raises what the method raises, and EngineUnreachable when Podman does not answer in time or
        cannot be started again.
        """
        async with self.in_use():
            return await self._threads.run(timeout, function, *arguments, **options)

    @contextlib.asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """See to it that a service of the node's own runs within the block.

        Raises EngineUnreachable when it cannot be started.
        """
        self._calls += 1
        try:
            if self._uses_own:
                try:
                    await self._start_own()
                except (EngineError, OSError) as error:
                    raise EngineUnreachable(str(error)) from error
            yield
        finally:
            self._calls -= 1
            if not self._calls and self._uses_own:
                self._end_later()

    def announce(self) -> None:
        """Let all that await `ready()` have the engine."""
        self.problem = ""
        self._up.set()

    def lost(self, problem: str) -> None:
        """Podman does not answer."""
        self.problem = problem
        self._up.clear()

    def doubt(self) -> None:
        """Podman may be gone, or a container may have ended: the manager has to ask Podman."""
        self.doubted.set()

    async def ready(self) -> Engine:
        """The engine, as soon as there is one; this may be never."""
        while self.engine is None or not self._up.is_set():
            await self._up.wait()
        return self.engine

    async def close(self) -> None:
        """End a service of our own."""
        self._up.clear()
        self._forget_timers()
        if self._ending is not None:
            await asyncio.gather(self._ending, return_exceptions=True)
        async with self._starting:
            await self.daemon.stop()

    @property
    def _uses_own(self) -> bool:
        return self.engine is not None and self.engine.url == self.daemon.url

    async def _start_own(self) -> None:
        """Start the service of the node's own, unless it runs; once, for calls at the same time."""
        async with self._starting:
            if not self.daemon.running:
                await self.daemon.start()

    def _end_later(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE, self._begin_to_end)

    def _begin_to_end(self) -> None:
        self._idle = None
        self._ending = asyncio.create_task(self._end_idle(), name="end Podman")

    async def _end_idle(self) -> None:
        async with self._starting:
            if not self._calls:
                await self.daemon.end()

    def _forget_timers(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _try(self, url: str) -> Engine:
        engine = Engine(url, self._registry)
        self.info = await self._threads.run(_PING_TIMEOUT + 1, engine.info, _PING_TIMEOUT)
        if self.engine is None or self.engine.url != url:
            self._log_connected(url)
        self.engine = engine
        self._owner = _owner_of(url)
        await self._watch_listener(url)
        return engine

    async def _watch_listener(self, url: str) -> None:
        """Notice when a service ends that nothing starts again.

        For a socket unit this is systemd, which does not end; the node's own may end at any time.
        """
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        scheme, _, path = url.partition("://")
        if scheme == "unix" and url != self.daemon.url:
            pid = await self._threads.run(_PING_TIMEOUT + 1, listener_pid, path, _PING_TIMEOUT)
            self._listener = WatchedProcess.open(pid, self.doubt)

    def _log_connected(self, url: str) -> None:
        version = self.info.version
        log_event(logger, "podman.connected", url=url, version=version)
        with contextlib.suppress(ValueError):
            if int(version.partition(".")[0]) < OLDEST:
                log_event(
                    logger, "podman.old", logging.WARNING, version=version, wanted=f"{OLDEST}.0"
                )

    def _candidates(self) -> Iterator[str]:
        if self._url:
            yield self._url
            return
        for path in standard_sockets(os.environ):
            if os.access(path, os.R_OK | os.W_OK) and self._owner in (None, path.stat().st_uid):
                yield f"unix://{path}"


def standard_sockets(environment: Mapping[str, str]) -> list[Path]:
    """Where Podman's own units listen: this user's, then the system's."""
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return [Path(runtime, "podman/podman.sock"), Path("/run/podman/podman.sock")]


def _owner_of(url: str) -> int | None:
    scheme, _, path = url.partition("://")
    if scheme == "unix":
        with contextlib.suppress(OSError):
            return Path(path).stat().st_uid
    return None
