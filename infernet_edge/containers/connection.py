"""Find Podman, reconnect to it, and start it when it is needed.

Podman's API costs 40 to 60 MB and 64 wake-ups a second while it runs, more than the node. So the
node keeps no connection to it: it runs during calls and for some seconds after the last one. It is
started again by its socket unit, or by this module if the node itself runs Podman's service.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

from infernet_edge.config.model import Config, Registry
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
_IDLE_SECONDS = 10.0  # without a call, after which Podman's service is stopped if the node runs it
OLDEST = 4  # the oldest supported version: that of Debian 12 and Raspberry Pi OS


class Connection:
    """The connection to Podman: `engine` while there is one, else the reason in `problem`."""

    def __init__(self, config: Config, threads: Threads) -> None:
        self._url = config.podman.url
        self._registry = config.docker
        self._threads = threads
        self.daemon = Daemon()
        self._starting = asyncio.Lock()  # held while `daemon` starts or stops: never both at once
        self._calls = 0  # in progress
        self._idle: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._listener: WatchedProcess | None = None
        # The user of the first Podman. Another user's Podman has other containers, so a reconnect
        # accepts only one of the same user.
        self._owner: int | None = None
        self._up = asyncio.Event()
        self.check_requested = asyncio.Event()
        self.problem = ""
        self.engine: Engine | None = None
        self.info = EngineInfo("", frozenset())

    @property
    def is_own(self) -> bool:
        """Whether Podman runs as this user; True until it is found."""
        return self._owner in (None, os.getuid())

    async def open(self) -> Engine:
        """Find Podman, or start its service.

        Raises EngineError with advice.
        """
        failures = []
        for url in self._candidates():
            try:
                return await self._try(url)
            except EngineError as error:
                failures.append(str(error))
        if self._url:
            raise EngineError(
                f"{failures[0]}. Check podman.url; start Podman's own service with:"
                " systemctl enable --now podman.socket"
            )
        if not self.is_own:
            raise EngineError("; ".join(failures) or "Podman's socket does not exist")
        self._calls += 1
        try:
            await self._start_own()
            return await self._try(self.daemon.url)
        except (EngineError, OSError) as error:
            async with self._starting:
                await self.daemon.close()
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
        """Make sure that Podman's service runs within the block, if the node runs it.

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
                self._stop_later()

    def apply(self, registry: Registry) -> None:
        """Use this login for the pulls that begin from now on."""
        self._registry = registry
        if self.engine is not None:
            self.engine = Engine(self.engine.url, registry)

    def set_ready(self) -> None:
        """Resume all callers that await `ready()`."""
        self.problem = ""
        self._up.set()

    def set_lost(self, problem: str) -> None:
        """Record that Podman does not answer; `ready()` waits from now on."""
        self.problem = problem
        self._up.clear()

    def request_check(self) -> None:
        """Request a check by the manager: Podman or a container may have stopped."""
        self.check_requested.set()

    async def ready(self) -> Engine:
        """Wait for the engine, without a time limit."""
        while self.engine is None or not self._up.is_set():
            await self._up.wait()
        return self.engine

    async def close(self) -> None:
        """Stop Podman's service, if the node runs it."""
        self._up.clear()
        self._stop_watching()
        if self._stopping is not None:
            await asyncio.gather(self._stopping, return_exceptions=True)
        async with self._starting:
            await self.daemon.close()

    @property
    def _uses_own(self) -> bool:
        return self.engine is not None and self.engine.url == self.daemon.url

    async def _start_own(self) -> None:
        """Start Podman's service, unless it runs."""
        async with self._starting:  # so that calls at the same time start it once
            if not self.daemon.running:
                await self.daemon.start()

    def _stop_later(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._start_stopping)

    def _start_stopping(self) -> None:
        self._idle = None
        self._stopping = asyncio.create_task(self._stop_if_idle(), name="stop Podman")

    async def _stop_if_idle(self) -> None:
        async with self._starting:
            if not self._calls:  # a call may have begun while this waited for the lock
                await self.daemon.stop()

    def _stop_watching(self) -> None:
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
        """Watch a service that is not started again when it ends.

        The listener of a socket unit is systemd, which does not end. The node's own service is not
        watched: it stops when it is idle, and the next call starts it.
        """
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        scheme, _, path = url.partition("://")
        if scheme == "unix" and url != self.daemon.url:
            pid = await self._threads.run(_PING_TIMEOUT + 1, listener_pid, path, _PING_TIMEOUT)
            self._listener = WatchedProcess.open(pid, self.request_check)

    def _log_connected(self, url: str) -> None:
        version = self.info.version
        log_event(logger, "podman.connected", url=url, version=version)
        with contextlib.suppress(ValueError):
            if int(version.partition(".")[0]) < OLDEST:
                log_event(
                    logger,
                    "podman.outdated",
                    logging.WARNING,
                    version=version,
                    minimum=f"{OLDEST}.0",
                )

    def _candidates(self) -> Iterator[str]:
        if self._url:
            yield self._url
            return
        for path in standard_sockets(os.environ):
            if os.access(path, os.R_OK | os.W_OK) and self._owner in (None, path.stat().st_uid):
                yield f"unix://{path}"


def standard_sockets(environment: Mapping[str, str]) -> list[Path]:
    """The sockets of Podman's own units: this user's, then the system's."""
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return [Path(runtime, "podman/podman.sock"), Path("/run/podman/podman.sock")]


def _owner_of(url: str) -> int | None:
    scheme, _, path = url.partition("://")
    if scheme == "unix":
        with contextlib.suppress(OSError):
            return Path(path).stat().st_uid
    return None
