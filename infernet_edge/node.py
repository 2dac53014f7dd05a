"""The node: creates its parts from a Config, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infernet_edge.api.access.tokens import Tokens
from infernet_edge.api.app import Api
from infernet_edge.api.info import VERSION
from infernet_edge.api.jobs import NoDelegations
from infernet_edge.api.overview.publishing import OverviewEvents
from infernet_edge.api.parts import Parts
from infernet_edge.api.server import LanServer
from infernet_edge.backup import record
from infernet_edge.config.loading import Loaded
from infernet_edge.config.model import Config
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.resources import Resources
from infernet_edge.containers.service import make_services
from infernet_edge.control.backup import DatabaseCopy
from infernet_edge.control.reports import Reports
from infernet_edge.control.server import ControlServer
from infernet_edge.discovery.discovery import NodeDiscovery
from infernet_edge.errors import StartupError, StorageError
from infernet_edge.events.bus import Events
from infernet_edge.events.readers import MAX_READERS, EventReaders
from infernet_edge.hardware import Hardware
from infernet_edge.hardware.memory import budget_of, memory_limit
from infernet_edge.hardware.network import reachable_hosts, url_host
from infernet_edge.http_client.authorities import read_authorities
from infernet_edge.http_client.client import HttpClient
from infernet_edge.invariants import InvariantViolated
from infernet_edge.jobs import external_jobs, idempotency, table
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.housekeeping import Housekeeper
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.reading.waiting import MAX_WAITERS
from infernet_edge.jobs.store import JobStore
from infernet_edge.logs import log_event
from infernet_edge.memory import MemoryBudget
from infernet_edge.reloading.container_changes import ContainerChanges
from infernet_edge.reloading.limits import apply_limits
from infernet_edge.reloading.reloader import Prepared, Reloader
from infernet_edge.statistics.disk_pace import DiskPace
from infernet_edge.storage import elapsed
from infernet_edge.storage.damage import is_corrupt
from infernet_edge.storage.database import Database
from infernet_edge.storage.dates import Dates
from infernet_edge.storage.elapsed import ElapsedTime
from infernet_edge.storage.salvage import Part
from infernet_edge.storage.token_file import TokenFile
from infernet_edge.tasks import Background

if TYPE_CHECKING:
    from infernet_edge.backup.schedule import BackupSchedule
    from infernet_edge.chain.chain import ChainSubsystem

logger = logging.getLogger(__name__)

_OTHER_FILES = 128  # file descriptors for the database, Podman, the log and other files
_CLOSING_TIME = 1.0  # seconds for open requests to end, after all jobs have ended
_MAX_RESOURCES = 2**20  # bytes of a container's answer about its resources
# What is saved first from a damaged database: unfinished work.
_FIRST = (
    Part("jobs", "status = 0", needed=True),
    Part("pieces", needed=True, keys_from="SELECT id FROM jobs WHERE status = 0"),
    Part("deliveries", "state NOT IN ('delivered', 'failed', 'skipped')", needed=True),
    Part("delegated_data", needed=True),
    Part("transactions", needed=True),
    Part("signed_transactions", needed=True),
    Part("reports"),
    Part("pieces"),
    Part("jobs"),
)
_MAX_STARTS = 3  # a rebuilt database may be damaged too, when the disk is faulty


class Node:
    """A whole node: the only owner of all parts."""

    def __init__(
        self,
        config: Config,
        on_salvage: Callable[[int], None] = lambda rows: None,
        source: Path | None = None,
        load: Callable[[], Loaded] | None = None,
    ) -> None:
        """`on_salvage` is called, in a thread, with the rows saved so far from a damaged file.

        `source` is the file that the configuration was read from; `load` reads it again, for a
        reload, and blocks.
        """
        self.reloader = Reloader(config, load, self._prepare)
        self._source = source
        self._on_salvage = on_salvage
        self._events = Events()
        self.services = make_services(config, self._events)
        self._hardware = Hardware()
        self._stack = AsyncExitStack()
        self.parts: Parts | None = None
        self._server: LanServer | None = None
        self._api: Api | None = None
        self._reports: Reports | None = None
        self._housekeeper: Housekeeper | None = None
        self._changes: ContainerChanges | None = None
        self.chain: ChainSubsystem | None = None

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.reloader.config

    @property
    def url(self) -> str:
        """The address of the API for programs on this machine."""
        server = self.config.server
        host = server.host if server.host not in ("0.0.0.0", "::", "") else "127.0.0.1"
        return self._url_of(url_host(host))

    def _url_of(self, host: str) -> str:
        server = self.config.server
        port = self._server.port if self._server else server.port
        return f"{'https' if server.tls else 'http'}://{host}:{port}"

    async def network_urls(self) -> list[str]:
        """The addresses of the API for other machines of the network; none when it serves none."""
        bound = self._server.bound if self._server else None
        if bound is None:
            return []
        address, both = bound
        hosts = await asyncio.to_thread(reachable_hosts, address, both=both)
        return [self._url_of(host) for host in hosts]

    async def start(self) -> None:
        """Start everything; when this returns, the API answers and containers are starting.

        When the database turns out to be damaged while it is read, it is rebuilt and the start
        repeated. Raises StartupError, with nothing left running.
        """
        for _ in range(_MAX_STARTS):
            try:
                await self._start()
            except StorageError as error:
                await self.stop()
                problem = error
                if not is_corrupt(error.__cause__):
                    break
            except BaseException:
                await self.stop()
                raise
            else:
                return
        raise StartupError(f"{problem}. Check the disk of {self.config.storage_path}.")

    async def _start(self) -> None:
        config, stack = self.config, self._stack
        await asyncio.to_thread(read_authorities, config)
        http = HttpClient()
        stack.push_async_callback(http.close)
        parts = self.parts = self._make_parts(http)
        self._api = Api(parts)
        stack.push_async_callback(self._api.overview.close)
        publishing = OverviewEvents(self._api.overview, parts.store.recent.hour, parts.events)
        stack.push_async_callback(publishing.close)
        server = self._server = LanServer(config.server, self._api, memory=parts.memory)
        stack.push_async_callback(parts.database.close)
        await parts.database.lock()  # first: a second start of this node ends here
        server.bind()
        stack.push_async_callback(server.close)
        parts.database.name_owner(self.url)
        await parts.database.open()
        await _load(parts)
        stack.push_async_callback(parts.tokens.close)
        stack.push_async_callback(self._save_elapsed)
        # The stack stops in reverse order: users of containers before the containers.
        stack.push_async_callback(parts.manager.stop)
        stack.push_async_callback(parts.orchestrator.stop)
        changes = self._changes = ContainerChanges(
            self.services,
            parts.orchestrator,
            parts.manager,
            parts.events,
            manages=config.manage_containers,
        )
        stack.push_async_callback(changes.stop)
        if self.chain is not None:
            stack.push_async_callback(self.chain.stop)
            await self.chain.start()

        housekeeper = self._housekeeper = Housekeeper(
            config,
            parts.database,
            parts.store,
            parts.external_jobs,
            parts.memory,
            parts.elapsed,
            parts.pace,
            self._api.overview.note,
        )
        await housekeeper.check()
        stack.push_async_callback(parts.background.stop)
        parts.background.supervise("housekeeping", housekeeper.run)
        if parts.backups is not None:
            parts.background.supervise("backups", parts.backups.run)

        stack.push_async_callback(self._hardware.stop)
        await self._hardware.start()
        await parts.manager.start()

        self._reports = Reports(parts, self.chain, self._api.overview, self.url, self.network_urls)
        control = ControlServer(
            config.storage_path,
            self._reports.by_path(),
            self._api.serve_operator,
            parts.memory,
            {"/database": DatabaseCopy(parts.database, self._min_free_bytes)},
        )
        await control.start()
        stack.push_async_callback(control.stop)

        await server.start(reserve=_reserve(config))
        _limit_waiting(parts, server)
        stack.push_async_callback(server.stop, _CLOSING_TIME)
        stack.push_async_callback(parts.discovery.stop)
        await parts.discovery.start(server.bound, server.port)
        network = " ".join(await self.network_urls())
        log_event(logger, "node.started", url=self.url, network=network, version=VERSION)

    @property
    def damaged(self) -> asyncio.Event:
        """Set when the database turns out to be damaged; the next start rebuilds it."""
        if self.parts is None:
            raise InvariantViolated("the node has not been started")
        return self.parts.database.damaged

    async def _prepare(self, config: Config) -> Prepared:
        """Prepare another configuration. Raises StartupError."""
        parts, api, server, changes = self.parts, self._api, self._server, self._changes
        if parts is None or api is None or server is None or changes is None:
            raise StartupError("The node has not been started")
        before = self.config.containers
        prepared = [await server.prepare(config.server)]
        if self.chain is not None:
            prepared.append(await self.chain.prepare(config))
        renewed = await changes.with_other_env_files(before, config.containers)

        def apply() -> None:
            for each in prepared:
                each()
            api.apply(config)
            apply_limits(parts, config)
            server.reserve(_reserve(config))
            _limit_waiting(parts, server)
            if self._housekeeper is not None:
                self._housekeeper.apply(config)
            changes.apply(before, config.containers, renewed)
            parts.manager.let_sleep(config, parts.orchestrator.gates)

        return Prepared(apply, [f"containers[{name}].env_file" for name in sorted(renewed)])

    async def wait_until_ready(self, timeout: float) -> None:
        """Wait until each container is ready or has failed, at most `timeout` seconds."""
        if self.parts is not None:
            await self.parts.manager.wait_until_settled(timeout)
        running = [service.id for service in self.services.values() if service.is_up]
        log_event(logger, "node.ready", containers=",".join(running) or "none")

    def _min_free_bytes(self) -> int:
        return self.config.storage.min_free_bytes

    def stop_waits(self) -> dict[str, Any]:
        """What `stop` waits for: numbers of jobs and of containers, and the maximum seconds."""
        parts, services = self.parts, self.services.values()
        jobs = sum(service.working_on for service in services)
        containers = sum(service.managed for service in services)
        seconds = _CLOSING_TIME
        if parts is not None:
            seconds += parts.orchestrator.stop_seconds if jobs else 0.0
            seconds += parts.manager.stop_seconds if containers else 0.0
        return {"jobs": jobs, "containers": containers, "max_seconds": round(seconds)}

    async def stop(self) -> None:
        """Refuse new work, let jobs in flight end for some seconds, then stop every part.

        May be called twice.
        """
        if self.parts is not None and self._server is not None:
            self.parts.store.close_intake("The node is shutting down")
            self.reloader.stop()
            await self.parts.manager.operations.logs.stop()
            await self._server.close()
            if self.chain is not None:
                await self.chain.stop()
            await self.parts.orchestrator.stop()
            self.parts.store.waiters.close()
            self.parts.readers.close()
        await self._stack.aclose()
        log_event(logger, "node.stopped")

    async def _save_elapsed(self) -> None:
        """Store the node's own time, so that the next start continues from here."""
        if self.parts is not None:
            with contextlib.suppress(StorageError):  # the next start uses an older value
                await self.parts.elapsed.save()

    async def report_status(self) -> dict[str, Any]:
        """What `infernet-edge status` shows; empty before the start."""
        return {} if self._reports is None else await self._reports.status({})

    def _make_parts(self, http: HttpClient) -> Parts:
        """The parts that the API uses, not yet started."""
        config, services, events = self.config, self.services, self._events
        max_bytes = config.server.max_body_bytes
        database = Database(
            config.database_path,
            all_migrations(chain=config.chain.enabled),
            dormant=lambda: all_migrations(chain=True),
            first=_FIRST,
            on_salvage=self._on_salvage,
            events=events,
        )
        passed = ElapsedTime(database, config.jobs.retention)
        reported = ExternalJobs(database, config.jobs.max_pending, passed, events)
        memory = memory_budget(config)
        job_store = JobStore(database, reported, config.jobs.max_pending, memory, passed, events)
        job_store.keep_inputs = config.jobs.keep_inputs
        job_store.answers.max_bytes = idempotency.part_of(config.storage)
        background = Background()
        manager = ContainerManager(config, services, http, background=background)
        client = ServiceClient(http, max_bytes, logs=manager)
        orchestrator = Orchestrator(config.jobs, job_store, services, client, max_bytes, memory)
        if config.chain.enabled:
            from infernet_edge.chain import chain

            self.chain = chain.ChainSubsystem(
                config,
                database,
                orchestrator,
                http,
                job_store.check_storage,
                memory,
                passed,
                background,
                events,
            )
        manager.let_sleep(config, orchestrator.gates)
        tokens = Tokens(config.server.tokens, TokenFile(config.storage_path), Dates(passed))
        discovery = NodeDiscovery(config, VERSION, services, lambda: tokens.is_open, background)
        events.summaries["job"] = lambda: _numbers(job_store, orchestrator)
        return Parts(
            config=config,
            database=database,
            store=job_store,
            external_jobs=reported,
            orchestrator=orchestrator,
            services=services,
            manager=manager,
            resources=Resources(services, self._hardware, http, min(max_bytes, _MAX_RESOURCES)),
            delegations=self.chain or NoDelegations(),
            memory=memory,
            elapsed=passed,
            background=background,
            tokens=tokens,
            events=events,
            readers=EventReaders(events, VERSION),
            pace=DiskPace(),
            urls=self.network_urls,
            discovery=discovery,
            chain=self.chain,
            source=self._source,
            reloader=self.reloader,
            backups=self._make_backups(database, passed),
        )

    def _make_backups(self, database: Database, passed: ElapsedTime) -> BackupSchedule | None:
        if self.config.backup.path is None:
            return None
        from infernet_edge.backup.schedule import BackupSchedule

        return BackupSchedule(self.config, self._source, database, passed)


def all_migrations(*, chain: bool) -> dict[str, Sequence[str]]:
    """The steps of all tables, by owner; with those of the chain, or without."""
    migrations: dict[str, Sequence[str]] = {
        "jobs": table.MIGRATIONS,
        "reports": external_jobs.MIGRATIONS,
        "elapsed": elapsed.MIGRATIONS,
        "remembered_answers": idempotency.MIGRATIONS,
        "backups": record.MIGRATIONS,
    }
    if chain:
        from infernet_edge.chain.chain import (
            MIGRATIONS,  # only when needed: it takes 20 MB and half a second
        )

        migrations |= MIGRATIONS
    return migrations


def memory_budget(config: Config) -> MemoryBudget:
    """The budget of a node: the configured one, or a share of this machine's memory."""
    server = config.server
    limit = server.max_held_bytes or budget_of(memory_limit(), server.min_held_bytes)
    return MemoryBudget(limit, server.max_call_bytes)


def _reserve(config: Config) -> int:
    """File descriptors that connections of clients must leave: each call of a container has one."""
    return _OTHER_FILES + sum(container.max_concurrency for container in config.containers)


def _limit_waiting(parts: Parts, server: LanServer) -> None:
    """Leave connections for clients that neither wait for jobs nor read events."""
    parts.store.waiters.limit = min(MAX_WAITERS, server.max_connections // 2)
    parts.readers.limit = min(MAX_READERS, server.max_connections // 4)


def _numbers(store: JobStore, orchestrator: Orchestrator) -> dict[str, int]:
    """The numbers of jobs that run and that wait."""
    running = orchestrator.computing.working
    return {"running": running, "waiting": max(0, len(store.pending) - running)}


async def _load(parts: Parts) -> None:
    await parts.elapsed.load()
    await parts.tokens.load()
    await parts.external_jobs.load()
    await parts.orchestrator.start()
