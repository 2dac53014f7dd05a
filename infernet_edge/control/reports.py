"""The reports of the running node for commands, as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from infernet_edge.api.info import VERSION, is_healthy
from infernet_edge.api.overview.overview import OverviewSource
from infernet_edge.api.parts import Parts
from infernet_edge.control.server import Parameters, Report
from infernet_edge.jobs.store import MAX_LISTED

_DEFAULT_LISTED = 20  # jobs in a report without a limit


class ChainReports(Protocol):
    """What the chain says of itself."""

    async def status(self) -> dict[str, Any] | None:
        """Its state and its problems."""

    async def report(self, limit: int, *, skipped: bool = False) -> Any:
        """The newest subscriptions and deliveries."""


class Reports:
    """Makes the reports of a started node."""

    def __init__(
        self,
        parts: Parts,
        chain: ChainReports | None,
        overview: OverviewSource,
        url: str,
        network_urls: Callable[[], Awaitable[list[str]]],
    ) -> None:
        self._parts = parts
        self._chain = chain
        self._overview = overview
        self._url = url
        self._network_urls = network_urls

    def by_path(self) -> dict[str, Report]:
        """The reports, by their paths at the control socket."""
        return {
            "/status": self.status,
            "/jobs": self._jobs,
            "/job": self._job,
            "/deliveries": self._deliveries,
        }

    async def status(self, parameters: Parameters) -> dict[str, Any]:
        """What `infernet-edge status` shows."""
        parts = self._parts
        chain = None if self._chain is None else await self._chain.status()
        attention = await self._overview.attention()
        return {
            "version": VERSION,
            "url": self._url,
            "network": await self._network_urls(),
            "healthy": is_healthy(
                parts.database, parts.store, parts.services.values(), parts.background
            ),
            "problems": [
                f"{each.text} {each.fix}" for each in attention if each.id != "access.open"
            ],
            "attention": attention,
            "pending": len(parts.store.pending) + parts.external_jobs.pending,
            "latest_wall_clock": parts.elapsed.latest_wall,
            "memory": {"held": parts.memory.total, "limit": parts.memory.limit},
            "containers": await parts.manager.report(),
            "chain": chain,
            "discovery": parts.discovery.report(),
            "backup": None if parts.backups is None else parts.backups.report,
        }

    async def _jobs(self, parameters: Parameters) -> Any:
        """What `infernet-edge jobs` shows."""
        return {"items": await self._parts.store.newest(_limit(parameters))}

    async def _job(self, parameters: Parameters) -> Any:
        """What `infernet-edge jobs ID` shows; null when there is no such job."""
        parts = self._parts
        job = await parts.store.details(parameters.get("id", ""))
        if job is None or job.status != "running":
            return {"job": job, "waits_for": []}
        services = [parts.services[name] for name in job.containers if name in parts.services]
        waits = [f"{each.id}, {each.state}: {each.reason}" for each in services if each.reason]
        unfinished = parts.store.unfinished_job(job.id)
        progress = (
            None
            if unfinished is None
            else parts.orchestrator.progress_of([unfinished.key]).get(unfinished.key)
        )
        return {"job": job, "waits_for": waits, "progress": progress and progress._asdict()}

    async def _deliveries(self, parameters: Parameters) -> Any:
        """What `infernet-edge jobs --onchain` shows; null when the chain is off."""
        if self._chain is None:
            return {"items": None}
        skipped = parameters.get("skipped") == "true"
        return {"items": await self._chain.report(_limit(parameters), skipped=skipped)}


def _limit(parameters: Parameters) -> int:
    limit = parameters.get("limit", "")
    return min(int(limit), MAX_LISTED) if limit.isdecimal() else _DEFAULT_LISTED
