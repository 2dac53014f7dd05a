"""The parts of the node that the API uses: the node makes them, and the endpoints share them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from infernet_edge.api.access.tokens import Tokens
from infernet_edge.api.endpoints.reload import Reloading
from infernet_edge.api.jobs import Delegations
from infernet_edge.api.overview.chain import ChainView
from infernet_edge.config.model import Config
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.resources import Resources
from infernet_edge.containers.service import Service
from infernet_edge.discovery.discovery import NodeDiscovery
from infernet_edge.events.bus import Events
from infernet_edge.events.readers import EventReaders
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.store import JobStore
from infernet_edge.memory import MemoryBudget
from infernet_edge.statistics.disk_pace import DiskPace
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime
from infernet_edge.tasks import Background

if TYPE_CHECKING:
    from infernet_edge.backup.schedule import BackupSchedule


class Parts(NamedTuple):
    """The parts of the node that the API uses."""

    config: Config
    database: Database
    store: JobStore
    external_jobs: ExternalJobs
    orchestrator: Orchestrator
    services: dict[str, Service]
    manager: ContainerManager
    resources: Resources
    delegations: Delegations
    memory: MemoryBudget
    elapsed: ElapsedTime
    background: Background
    tokens: Tokens
    events: Events
    readers: EventReaders
    pace: DiskPace
    urls: Callable[[], Awaitable[list[str]]]
    reloader: Reloading
    discovery: NodeDiscovery
    chain: ChainView | None = None
    source: Path | None = None  # the file of the configuration
    backups: BackupSchedule | None = None
