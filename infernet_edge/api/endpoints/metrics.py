"""GET /metrics: what the node counts and measures, for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.permissions import Permission
from infernet_edge.api.jobs import Delegations
from infernet_edge.api.json_io import Answer
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.service import Service
from infernet_edge.containers.supervision.usage import ContainerUsage
from infernet_edge.errors import StorageError
from infernet_edge.hardware.reading import Reading
from infernet_edge.hardware.temperature import read_temperature
from infernet_edge.jobs.housekeeping import Space, measure
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.memory import MemoryBudget
from infernet_edge.storage.database import Database

_READ_TIME: Final = 3.0  # seconds for what is read from the disk and the kernel


class _Read(NamedTuple):
    """What the kernel says of the containers and the machine."""

    usages: Mapping[str, ContainerUsage]
    temperature: float | None


class MetricsEndpoint:
    """GET /metrics: all is read when it is asked for, without a call of Podman or of the chain."""

    methods = ("GET", "HEAD")
    permissions: Final = dict.fromkeys(methods, Permission.MEASURE)
    open_to_this_machine: Final = True

    def __init__(
        self,
        storage: Path,
        database: Database,
        orchestrator: Orchestrator,
        manager: ContainerManager,
        memory: MemoryBudget,
        delegations: Delegations,
        requests: Mapping[tuple[str, int], int],
        services: Mapping[str, Service],
    ) -> None:
        """`requests` are the answered ones, by route and status; `services` the configured ones."""
        self._services = services
        self._storage = storage
        self._database = database
        self._orchestrator = orchestrator
        self._manager = manager
        self._memory = memory
        self._delegations = delegations
        self._requests = requests
        self._reading = Reading(
            "metrics", self._read, _Read({}, None), keep=0.0, timeout=_READ_TIME
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Imported here: a node does not need them while its metrics are not read.
        from infernet_edge.api.metrics import families
        from infernet_edge.metrics import text

        queues = self._orchestrator.computing.queues
        read, space = await asyncio.gather(self._reading.get(), self._space())
        measured = families.Measured(
            requests=self._requests,
            ended=self._orchestrator.ended,
            queues={name: queues[name] for name in self._services},  # not of removed ones
            usages=read.usages,
            restarts=self._manager.restarts,
            commits=self._database.commits,
            memory=self._memory,
            space=space,
            temperature=read.temperature,
            chain=self._delegations.measurements,
        )
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        openmetrics = text.wants_openmetrics(accept.decode("latin-1"))
        answer = Answer(
            text.render(families.families(measured), openmetrics=openmetrics),
            headers={"vary": "Accept"},
            media_type=text.OPENMETRICS_TYPE if openmetrics else text.CLASSIC_TYPE,
            is_due=True,  # also while there is no memory: then it is needed most
        )
        await answer(scope, receive, send)

    def _read(self) -> _Read:
        return _Read(self._manager.usages(), read_temperature())

    async def _space(self) -> Space | None:
        """The space of the database; None when it cannot be read, or not in time."""
        try:
            async with asyncio.timeout(_READ_TIME):
                return await self._database.read(measure, self._storage)
        except (StorageError, OSError, TimeoutError):  # StorageError is logged by the database
            return None
