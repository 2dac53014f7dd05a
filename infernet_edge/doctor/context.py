"""The input of the checks: a configuration, the machine, its Podman, the running node."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec

from infernet_edge.config import paths
from infernet_edge.config.errors import Problem
from infernet_edge.config.model import Config, Container
from infernet_edge.config.paths import SYSTEM_FILES
from infernet_edge.containers.blocking import Threads
from infernet_edge.containers.connection import Connection
from infernet_edge.containers.podman import Engine
from infernet_edge.control.client import fetch
from infernet_edge.doctor import commands
from infernet_edge.doctor.user import this_user, user_named
from infernet_edge.tasks import cancel

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

CHECK_TIMEOUT = 30.0  # seconds; starting a Podman service may be slow
SERVICE_USER = "infernet-edge"  # of the installed service, see systemd/sysusers.conf
ROOTLESS_DROP_IN = "infernet-edge-podman.service.d/rootless.conf"


class Case:
    """One run of the doctor. What several checks need is read once.

    `source` is the file of the configuration (None: there is none), `warnings` those of its
    loading, `problems` its errors: `config` then has defaults in their paths. `root` is where
    /proc, /etc, /run and /var are.
    """

    def __init__(
        self,
        config: Config,
        source: Path | None = None,
        warnings: Sequence[str] = (),
        root: Path = Path("/"),
        problems: Sequence[Problem] = (),
    ) -> None:
        self.source = None if source is None else source.absolute()  # as commands need it
        self.warnings = warnings
        self.root = root
        self.problems = problems
        self.is_service = self.source in SYSTEM_FILES and self.unit_file.is_file()
        """Whether the node of this configuration is the installed service."""
        self.user = user_named(self._unit_user()) if self.is_service else this_user()
        """The user that the node runs as; None when the service's account is missing."""
        if self.is_service and not config.podman.url:
            # Its sandbox allows no other one; the sockets of the user who runs this do not count.
            podman = msgspec.structs.replace(config.podman, url=f"unix://{self.service_socket}")
            config = msgspec.structs.replace(config, podman=podman)
        self.config = config
        self._threads = Threads()
        self.connection = Connection(config, self._threads)
        self._status: asyncio.Task[Any] | None = None
        self._engine: asyncio.Task[Engine] | None = None

    @property
    def unit_file(self) -> Path:
        return self.root / paths.UNITS / paths.NODE_UNIT

    def _unit_user(self) -> str:
        named = re.findall(r"^User=(\S+)", self.unit_file.read_text("utf-8", "replace"), re.M)
        return named[-1] if named else "root"

    @property
    def service_socket(self) -> Path:
        """Podman's socket of the installed service."""
        return self.root / paths.PODMAN_RUNTIME / "podman/podman.sock"

    @property
    def is_rootless(self) -> bool:
        """Whether the service was installed with --rootless."""
        return (self.root / paths.UNITS / ROOTLESS_DROP_IN).is_file()

    @property
    def has_systemd(self) -> bool:
        """sd_booted(3)."""
        return (self.root / "run/systemd/system").is_dir()

    @property
    def managed(self) -> list[Container]:
        """The containers that the node runs with Podman, where that is known."""
        return self.managed_with()

    def managed_with(self, *fields: str) -> list[Container]:
        """The managed containers in which the values of these fields are valid."""
        if not self.config.manage_containers:
            return []
        needed = ("id", "url", *fields)
        return [
            container
            for position, container in enumerate(self.config.containers)
            if not container.url
            and not any(self.is_wrong(f"containers[{position}].{field}") for field in needed)
        ]

    def is_wrong(self, path: str) -> bool:
        """Whether an error of the configuration is at this path, above it or below it.

        A file that cannot be read at all leaves open which containers and which chain there are;
        for the rest the defaults apply.
        """
        return any(_touches(each.path, path) for each in self.problems)

    def lacks(self, need: str) -> bool:
        """Whether a check cannot do without this part, and it is wrong.

        Errors in one container do not count here: "containers" means only the list itself.
        """
        if need == "containers":
            return any(not each.path or _is_at_or_below(need, each.path) for each in self.problems)
        return self.is_wrong(need)

    @property
    def needs_podman(self) -> bool:
        """Whether the node needs Podman, or may need it: no configuration, or an unreadable one."""
        unknown = self.source is None or self.is_wrong("containers")
        return bool(self.managed) or (unknown and self.config.manage_containers)

    def command(self, *words: str, root: bool = False) -> str:
        """A command of this program for the same configuration, to be pasted into a shell."""
        named = self.source is not None and self.source not in SYSTEM_FILES
        option = ["--config", str(self.source)] if named and self.source else []
        run = commands.as_root if root else commands.line
        return run(*commands.program(), *words, *option)

    async def blocking(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Await a blocking call, in a daemon thread: one that hangs does not block the exit."""
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
        """Close the connection to Podman; may be called twice."""
        await cancel(*(task for task in (self._status, self._engine) if task is not None))
        await self.connection.close()


def _touches(error: str, path: str) -> bool:
    if not error:
        return path.startswith(("containers", "chain", "server.tokens", "docker"))
    return _is_at_or_below(error, path) or _is_at_or_below(path, error)


def _is_at_or_below(path: str, other: str) -> bool:
    return path == other or path.startswith((f"{other}.", f"{other}["))
