"""Keeps the store within its limits: retention, the size of the file, free space on the disk."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from infernet_edge.config.model import Config
from infernet_edge.errors import StorageError
from infernet_edge.hardware.memory import resident_memory, return_freed_memory
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.store import JobStore
from infernet_edge.logs import log_event
from infernet_edge.memory import MemoryBudget
from infernet_edge.statistics.disk_pace import DiskPace
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime

logger = logging.getLogger(__name__)

_PERIOD = 10.0  # seconds between two checks
# Jobs deleted by one transaction. A page that several of them share is then written only once, but
# other writes wait meanwhile.
_AT_ONCE = 2000
_MIN_AT_ONCE = 5  # at first, when space is low: deleting a few large results may be enough
_MAX_PER_CHECK = 20_000  # jobs deleted for space
_EXPIRY_TIME = 5.0  # seconds that a check spends on deleting expired jobs
_EXPIRY_PERIOD = 3600.0  # seconds between two deletions of expired jobs: a few large ones
_EXPIRY_PART = 24  # a job is kept longer than the retention by at most this part of it
_MUCH_MEMORY = 4 * 2**20  # bytes in use, after which freed memory is returned
# Milliseconds for which a finished job is kept in any case, so that its client can fetch the
# result: when the disk is nearly full, and when storage.max_bytes is reached.
_MIN_AGE_DISK_FULL = 5 * 60 * 1000
_MIN_AGE_AT_LIMIT = 10 * 1000


class Space(NamedTuple):
    """Bytes that the database uses, that are free on its disk, and of damaged files kept there."""

    used: int
    free: int
    kept: int = 0


class Housekeeper:
    """Checks the store every 10 seconds; only reads, unless there is something to delete."""

    def __init__(
        self,
        config: Config,
        database: Database,
        store: JobStore,
        external_jobs: ExternalJobs,
        memory: MemoryBudget,
        elapsed: ElapsedTime,
        pace: DiskPace,
        on_check: Callable[[], object] = lambda: None,
    ) -> None:
        """`pace` gets the free space; `on_check` is called after each check."""
        self._config = config
        self._database = database
        self._store = store
        self._external_jobs = external_jobs
        self._memory = memory
        self._resident = 0
        self._published = ""  # the refusal that clients know
        self._elapsed = elapsed
        self._pace = pace
        self._on_check = on_check
        self._next_expiry = 0  # by elapsed time

    def apply(self, config: Config) -> None:
        """Keep to the limits of this configuration from the next check on."""
        self._config = config
        self._next_expiry = 0

    async def run(self) -> None:
        """Check regularly until cancelled; the caller does the first check before."""
        while True:
            await asyncio.sleep(_PERIOD)
            await self.check()
            self._on_check()
            await self._return_memory()

    async def check(self) -> None:
        """Delete expired jobs, and set `store.refusal` when new jobs cannot be accepted."""
        try:
            await self._database.check_files()
            if not self._database.writable:
                await self._database.probe()
            space = await self._measure()
            self._pace.note(space.free)
            self._set_refusal(space)
            if self._store.refusal:
                await self._free_space(space)
            if self._store.refusal != self._published:
                self._publish_refusal(space)
            await self._elapsed.check()
            if self._elapsed.now() >= self._next_expiry:
                await self._delete_expired()
        except (StorageError, OSError) as error:
            self._database.report_problem(str(error))
        else:
            self._database.report_problem("")

    async def _return_memory(self) -> None:
        """Return freed memory to the system, if much was in use since the last time."""
        peak, self._memory.peak = self._memory.peak, self._memory.total
        grown = await asyncio.to_thread(resident_memory) - self._resident
        if peak >= _MUCH_MEMORY or grown >= _MUCH_MEMORY:
            await asyncio.to_thread(return_freed_memory)
            self._resident = await asyncio.to_thread(resident_memory)

    async def _measure(self) -> Space:
        return await self._database.read(measure, self._config.storage_path)

    def _set_refusal(self, space: Space) -> None:
        refusal = self._shortage(space)
        if refusal and refusal != self._store.refusal:
            log_event(logger, "storage.low", logging.WARNING, used=space.used, free=space.free)
        self._store.refusal = refusal

    def _publish_refusal(self, space: Space) -> None:
        """Publish that new jobs are refused, or no longer; not where deleting jobs was enough."""
        refusal, self._published = self._store.refusal, self._store.refusal
        self._store.events.publish(
            "storage.full" if refusal else "storage.available",
            {"id": "space", "reason": refusal, "used": space.used, "free": space.free},
        )

    def _shortage(self, space: Space) -> str:
        storage = self._config.storage
        if space.free < storage.min_free_bytes:
            return "The disk is nearly full (storage.min_free_bytes)"
        if space.used > self._limit(space):
            return "The storage limit is reached (storage.max_bytes)"
        return ""

    def _limit(self, space: Space) -> int:
        """What the database may use; damaged files that are kept reduce it by at most half."""
        limit = self._config.storage.max_bytes
        return limit - min(space.kept, limit // 2)

    async def _free_space(self, space: Space) -> None:
        """Delete finished jobs, the oldest first, as far as that is needed and can help.

        Where other programs fill the disk, deleting all jobs would not free enough: then none is.
        """
        storage = self._config.storage
        target = min(self._limit(space), space.used - (storage.min_free_bytes - space.free))
        min_age = _MIN_AGE_DISK_FULL if space.free < storage.min_free_bytes else _MIN_AGE_AT_LIMIT
        deleted, at_once = 0, _MIN_AT_ONCE
        while 0 <= target < space.used and deleted < _MAX_PER_CHECK:
            count = await self._store.delete_finished(self._elapsed.now() - min_age, at_once)
            if not count:
                break
            deleted += count
            at_once = min(_AT_ONCE, at_once * 3 // 2)
            space = await self._measure()
        if deleted:
            log_event(logger, "jobs.deleted", logging.WARNING, count=deleted, reason="low storage")
        await self._database.release_space()
        self._set_refusal(await self._measure())

    async def _delete_expired(self) -> None:
        """Delete jobs older than the retention, for a few seconds; the rest at the next check."""
        retention = self._config.jobs.retention
        before = self._elapsed.now() - int(retention * 1000)
        until = time.monotonic() + _EXPIRY_TIME
        while time.monotonic() < until:
            if not await self._store.delete_finished(before, _AT_ONCE):
                pause = min(_EXPIRY_PERIOD, retention / _EXPIRY_PART)
                self._next_expiry = self._elapsed.now() + int(pause * 1000)
                break
        await self._external_jobs.delete_unchanged(before)
        await self._store.answers.delete_expired()


def measure(connection: sqlite3.Connection, folder: Path) -> Space:
    """Space used by the database's pages and free on the disk of `folder`, in bytes."""

    def number(pragma: str) -> int:
        return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    used = (number("page_count") - number("freelist_count")) * number("page_size")
    disk = os.statvfs(folder)
    return Space(used, disk.f_bavail * disk.f_frsize, _kept(folder))


def _kept(folder: Path) -> int:
    """Bytes of the damaged databases that are kept in the folder."""
    return sum(file.stat().st_size for file in folder.glob("*.sqlite.corrupt-*"))
