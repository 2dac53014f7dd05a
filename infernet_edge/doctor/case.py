"""What the checks look at: a configuration, the machine, its Podman, the node that runs with it."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from infernet_edge.config.tree import Config, Container
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.podman import Engine
from infernet_edge.containers.threads import Threads
from infernet_edge.control import fetch

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

CHECK_TIMEOUT = 30.0  # seconds; starting a Podman service of one's own takes its time


def user_name() -> str:
    """Who runs this; a number for users without an account. Blocks."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class Case:
    """One examination. What several checks want to know is asked once.

    `source` is the file of the configuration (None: there is none), `warnings` what its loading
    had to say. `root` is where /proc, /etc, /run and /var are.
    """

    def __init__(
        self,
        config: Config,
        source: Path | None = None,
        warnings: Sequence[str] = (),
        root: Path = Path("/"),
    ) -> None:
        self.config = config
        self.source = source
        self.warnings = warnings
        self.root = root
        self._threads = Threads()
        self.connection = Connection(config, self._threads)
        self._status: asyncio.Task[Any] | None = None
        self._engine: asyncio.Task[Engine] | None = None

    @property
    def managed(self) -> list[Container]:
        """The containers that the node runs with Podman."""
        if not self.config.manage_containers:
            return []
        return [container for container in self.config.containers if not container.url]

    @property
    def wants_podman(self) -> bool:
        """Whether it runs any, or may yet be made to: nothing is configured."""
        return bool(self.managed) or (self.source is None and self.config.manage_containers)

    async def blocking(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Await what blocks, in a thread that does not keep the doctor from ending if it hangs."""
        return await self._threads.run(2 * CHECK_TIMEOUT, function, *arguments, **options)

    async def status(self) -> Any:
        """The running node's report, see node.py. Raises NotRunning."""
        if self._status is None:
            self._status = asyncio.create_task(self.blocking(fetch, self.config, "status"))
        return await asyncio.shield(self._status)

    async def engine(self) -> Engine:
        """Podman, found as the node finds it. Raises EngineError."""
        if self._engine is None:
            self._engine = asyncio.create_task(self.connection.open())
        return await asyncio.shield(self._engine)

    async def close(self) -> None:
        """Let go of Podman; may be called twice."""
        asked: list[Awaitable[Any]] = []
        for task in (self._status, self._engine):
            if task is not None:
                task.cancel()
                asked.append(task)
        await asyncio.gather(*asked, return_exceptions=True)
        await self.connection.close()
