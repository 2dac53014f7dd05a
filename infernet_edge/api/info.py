"""GET /health, /info and /resources: the state, identity and resources of the node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.types import Receive, Scope, Send

from infernet_edge import INFERNET_VERSION, __version__, schema
from infernet_edge.api.jobs import Delegations
from infernet_edge.api.json_io import Answer, query
from infernet_edge.api.shared_answers import SharedAnswers
from infernet_edge.containers.resources import Resources
from infernet_edge.containers.service import Service
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.store import JobStore
from infernet_edge.storage.database import Database
from infernet_edge.tasks import Background

VERSION = f"{INFERNET_VERSION}+edge.{__version__}"
_MAX_MODEL_ID = 1024  # characters


def is_healthy(
    database: Database, store: JobStore, services: Iterable[Service], background: Background
) -> bool:
    """Whether jobs can be stored, and a managed container (if any) and all background tasks run.

    A container that a job starts counts as one that runs.
    """
    managed = [service for service in services if service.managed]
    running = not managed or any(service.is_available for service in managed)
    return running and database.writable and not store.refusal and not background.problems


class HealthEndpoint:
    """GET /health: status 200 in both cases, as in the REST API reference."""

    methods = ("GET", "HEAD")

    def __init__(
        self,
        database: Database,
        store: JobStore,
        services: Mapping[str, Service],
        background: Background,
    ) -> None:
        self._database = database
        self._store = store
        self._services = services
        self._background = background

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services.values()
        healthy = is_healthy(self._database, self._store, services, self._background)
        status = b"healthy" if healthy else b"unhealthy"
        await Answer(b'{"status":"%b"}' % status)(scope, receive, send)


class InfoEndpoint:
    """GET /info: fast, because routers poll it; it reads neither the disk nor Podman."""

    methods = ("GET", "HEAD")

    def __init__(
        self,
        services: Mapping[str, Service],
        store: JobStore,
        external_jobs: ExternalJobs,
        delegations: Delegations,
    ) -> None:
        self._services = services
        self._store = store
        self._external_jobs = external_jobs
        self._delegations = delegations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = self._delegations.address
        info = schema.NodeInfo(
            version=VERSION,
            containers=[s.info for s in self._services.values() if s.is_available],
            pending=schema.PendingJobs(
                offchain=len(self._store.pending) + self._external_jobs.pending,
                onchain=self._delegations.pending,
            ),
            chain=schema.ChainInfo(enabled=bool(address), address=address),
        )
        await Answer(info)(scope, receive, send)


class ResourcesEndpoint:
    """GET /resources: hardware and models of the running containers, or support of a model."""

    methods = ("GET", "HEAD")

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._answers = SharedAnswers(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        model_id = query(scope, 16).get("model_id", [""])[-1][:_MAX_MODEL_ID]
        await Answer(await self._answers.get(model_id))(scope, receive, send)

    async def _answer(self, model_id: str) -> bytes:
        """The answer about a model; "" is for the resources."""
        if model_id:
            return schema.encoder.encode(await self._resources.support(model_id))
        return schema.encoder.encode(await self._resources.all())
