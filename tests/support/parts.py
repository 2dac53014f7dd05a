"""The parts of a node below its API: database, store, orchestrator, and the client of containers.

async with working(tmp_path, {"containers": [{"id": "echo", "url": url}]}) as parts:
    job = await submit(parts, ["echo"], {"a": 1})
    result = await outcome(parts, job)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infernet_edge.config.model import Config
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.service import Service, make_services
from infernet_edge.http_client.client import HttpClient
from infernet_edge.jobs import external_jobs, idempotency, table
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.job import DIRECT, STREAM, Job
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.jobs.store import JobStore
from infernet_edge.memory import MemoryBudget
from infernet_edge.node import memory_budget
from infernet_edge.storage import elapsed
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime
from tests.support.running import configuration

CLIENT = "192.168.1.7"


class Parts(NamedTuple):
    config: Config
    database: Database
    store: JobStore
    external_jobs: ExternalJobs
    orchestrator: Orchestrator
    services: dict[str, Service]
    client: ServiceClient
    memory: MemoryBudget
    elapsed: ElapsedTime


@asynccontextmanager
async def working(
    folder: Path, document: Mapping[str, Any] | None = None, *, stop: bool = True
) -> AsyncIterator[Parts]:
    """Parts that work within the block; without `stop` jobs in flight end as with kill -9."""
    http = HttpClient()
    parts = _made_of(configuration(folder, document), http)
    try:
        await parts.database.open()
        await parts.elapsed.load()
        await parts.external_jobs.load()
        await parts.orchestrator.start()
        yield parts
        if stop:
            await parts.orchestrator.stop()
    finally:
        await parts.orchestrator._tasks.stop()  # noqa: SLF001
        await parts.database.close()
        await http.close()


def _made_of(config: Config, http: HttpClient) -> Parts:
    most, services = config.server.max_body_bytes, make_services(config)
    database = Database(
        config.database_path,
        {
            "jobs": table.MIGRATIONS,
            "reports": external_jobs.MIGRATIONS,
            "elapsed": elapsed.MIGRATIONS,
            "remembered_answers": idempotency.MIGRATIONS,
        },
    )
    passed = ElapsedTime(database)
    reported = ExternalJobs(database, config.jobs.max_pending, passed)
    memory = memory_budget(config)
    job_store = JobStore(database, reported, config.jobs.max_pending, memory, passed)
    job_store.keep_inputs = config.jobs.keep_inputs
    client = ServiceClient(http, most)
    orchestrator = Orchestrator(config.jobs, job_store, services, client, most, memory)
    return Parts(
        config, database, job_store, reported, orchestrator, services, client, memory, passed
    )


async def submit(
    parts: Parts,
    containers: Sequence[str] = ("echo",),
    data: Mapping[str, Any] | None = None,
    *,
    client: str = CLIENT,
    requires_proof: bool = False,
) -> Job:
    """Store a job and let it run, as the API does."""
    job = made(parts, containers, data, client=client, requires_proof=requires_proof)
    await parts.store.add([job])
    parts.orchestrator.submit(job)
    return job


def made(
    parts: Parts,
    containers: Sequence[str] = ("echo",),
    data: Mapping[str, Any] | None = None,
    *,
    client: str = CLIENT,
    requires_proof: bool = False,
    stream: bool = False,
    attempts: int = 0,
) -> Job:
    """A job that is not stored yet."""
    return Job(
        parts.store.new_key(),
        client,
        tuple(containers),
        msgspec.json.encode(dict(data or {})),
        requires_proof=requires_proof,
        kind=STREAM if stream else DIRECT,
        attempts=attempts,
    )


async def result(parts: Parts, job: Job | str, client: str = CLIENT) -> dict[str, Any]:
    """What the store says of a job now, with the intermediate results."""
    identifier = job if isinstance(job, str) else job.id
    (found,) = await parts.store.results(client, [identifier], intermediate=True)
    text = b""
    for part in found.json():
        if isinstance(part, bytes):
            text += part
        else:
            text += b"".join([piece async for piece in parts.store.read(part)])
    return dict(msgspec.json.decode(text))


async def outcome(
    parts: Parts, job: Job | str, client: str = CLIENT, timeout: float = 60
) -> dict[str, Any]:
    """Wait for the end of a job and return its result."""
    async with asyncio.timeout(timeout):
        while True:
            found = await result(parts, job, client)
            if found["status"] != "running":
                return found
            await asyncio.sleep(0.005)


async def attempts_of(parts: Parts, job: Job | str) -> int:
    """How many starts of a job are on the disk."""
    identifier = job if isinstance(job, str) else job.id
    summaries = await parts.store.newest(1000)
    return next(summary.attempts for summary in summaries if summary.id == identifier)
