"""Finding Podman, and finding it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from infernet_edge.config.tree import Config
from infernet_edge.containers.daemon import Daemon
from infernet_edge.containers.podman import Engine, EngineInfo
from infernet_edge.containers.threads import Threads
from infernet_edge.errors import EngineError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_PING_TIMEOUT = 10.0
OLDEST = 4  # Podman's version in Debian 12 and Raspberry Pi OS


class Connection:
    """The engine, as long as there is one; `problem` says why there is none."""

    def __init__(self, config: Config, threads: Threads) -> None:
        self._url = config.podman.url
        self._registry = config.docker
        self._threads = threads
        self.daemon = Daemon()
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
        try:
            if not self.daemon.running:
                await self.daemon.start()
            return await self._try(self.daemon.url)
        except (EngineError, OSError) as error:
            await self.daemon.stop()
            raise EngineError("; ".join([*failures, str(error)])) from error

    def announce(self) -> None:
        """Let everybody who awaits `ready()` have the engine."""
        self.problem = ""
        self._up.set()

    def lost(self, problem: str) -> None:
        """Podman does not answer."""
        self.problem = problem
        self._up.clear()

    def doubt(self) -> None:
        """A call was not answered: somebody shall find out whether Podman is still there.

        Podman's service, when asked to end, takes no new connections, but keeps the event stream
        for as long as that is read: it alone does not tell.
        """
        self.doubted.set()

    async def ready(self) -> Engine:
        """The engine, as soon as there is one; this may be never."""
        while self.engine is None or not self._up.is_set():
            await self._up.wait()
        return self.engine

    async def close(self) -> None:
        """End a service of our own."""
        self._up.clear()
        await self.daemon.stop()

    async def _try(self, url: str) -> Engine:
        engine = Engine(url, self._registry)
        self.info = await self._threads.run(_PING_TIMEOUT + 1, engine.info, _PING_TIMEOUT)
        if self.engine is None or self.engine.url != url:
            self._log_connected(url)
        self.engine = engine
        self._owner = _owner_of(url)
        return engine

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
