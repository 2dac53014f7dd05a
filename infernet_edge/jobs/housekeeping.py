"""Keeps the store within its bounds: retention, the size of the file, free space on the disk."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from infernet_edge.config.model import Config
from infernet_edge.errors import StorageError
from infernet_edge.hardware.memory import resident_memory, return_freed_memory
from infernet_edge.jobs.external_jobs import ExternalJobs
from infernet_edge.jobs.store import JobStore
from infernet_edge.logs import log_event
from infernet_edge.memory import MemoryBudget
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime

logger = logging.getLogger(__name__)

_PERIOD = 10.0  # seconds between two looks
# Jobs deleted by one transaction. Each page that they share with others is written once for all of
# them, and writers wait meanwhile.
_AT_ONCE = 2000
_MIN_AT_ONCE = 5  # at first, when room is short: a few large results may do
_MAX_AT_A_LOOK = 20_000  # to make room
_LOOKING_TIME = 5.0  # seconds for which a look deletes what is due
_EXPIRY_PERIOD = 3600.0  # seconds between two deletions of what is due, so that they are large
_EXPIRY_PART = 24  # of the retention, one part is the most that a job is kept longer
_MUCH_MEMORY = 4 * 2**20  # bytes
# Milliseconds in which a client may fetch a result, room or not: where other programs fill the
# disk, and where the results themselves reach the limit.
_SPARED = 5 * 60 * 1000
_SPARED_FROM_LIMIT = 10 * 1000


class Space(NamedTuple):
    """Bytes that the database uses, that are free on its disk, and of damaged files kept there."""

    used: int
    free: int
    kept: int = 0


class Housekeeper:
    """Looks at the store every few seconds; reads only, unless there is something to delete."""

    def __init__(
        self,
        config: Config,
        database: Database,
        store: JobStore,
        external_jobs: ExternalJobs,
        memory: MemoryBudget,
        elapsed: ElapsedTime,
    ) -> None:
        self._config = config
        self._database = database
        self._store = store
        self._external_jobs = external_jobs
        self._memory = memory
        self._resident = 0
        self._elapsed = elapsed
        self._next_expiry = 0  # by elapsed time

    async def run(self) -> None:
        """Look again and again, until cancelled; the first look is its caller's."""
        while True:
            await asyncio.sleep(_PERIOD)
            await self.check()
            await self._return_memory()

    async def check(self) -> None:
        """Delete what is due, and say in `store.refusal` whether new jobs can be taken."""
        try:
            await self._database.check_files()
            if not self._database.writable:
                await self._database.probe()
            space = await self._measure()
            self._refuse(space)
            if self._store.refusal:
                await self._make_room(space)
            await self._elapsed.check()
            if self._elapsed.now() >= self._next_expiry:
                await self._delete_expired()
        except (StorageError, OSError) as error:
            self._database.report_problem(str(error))
        else:
            self._database.report_problem("")

    async def _return_memory(self) -> None:
        """Give memory back to the system, if much of it was in use since the last time."""
        peak, self._memory.peak = self._memory.peak, self._memory.total
        grown = await asyncio.to_thread(resident_memory) - self._resident
        if peak >= _MUCH_MEMORY or grown >= _MUCH_MEMORY:
            await asyncio.to_thread(return_freed_memory)
            self._resident = await asyncio.to_thread(resident_memory)

    async def _measure(self) -> Space:
        return await self._database.read(measure, self._config.storage_path)

    def _refuse(self, space: Space) -> None:
        refusal = self._shortage(space)
        if refusal and refusal != self._store.refusal:
            log_event(logger, "storage.short", logging.WARNING, used=space.used, free=space.free)
        self._store.refusal = refusal

    def _shortage(self, space: Space) -> str:
        storage = self._config.storage
        if space.free < storage.min_free_bytes:
            return "The disk is nearly full (storage.min_free_bytes)"
        if space.used > self._limit(space):
            return "The storage limit is reached (storage.max_bytes)"
        return ""

    def _limit(self, space: Space) -> int:
        """What the database may use. Damaged files that are kept take a half of it at most."""
        most = self._config.storage.max_bytes
        return most - min(space.kept, most // 2)

    async def _make_room(self, space: Space) -> None:
        """Delete finished jobs, the oldest first, as far as that is needed and can help.

        Where other programs fill the disk, the jobs would go and the disk be full all the same.
        """
        storage = self._config.storage
        target = min(self._limit(space), space.used - (storage.min_free_bytes - space.free))
        spared = _SPARED if space.free < storage.min_free_bytes else _SPARED_FROM_LIMIT
        deleted, at_once = 0, _MIN_AT_ONCE
        while 0 <= target < space.used and deleted < _MAX_AT_A_LOOK:
            count = await self._store.delete_finished(self._elapsed.now() - spared, at_once)
            if not count:
                break
            deleted += count
            at_once = min(_AT_ONCE, at_once * 3 // 2)
            space = await self._measure()
        if deleted:
            log_event(logger, "jobs.deleted", logging.WARNING, count=deleted, reason="no room")
        await self._database.release_space()
        self._refuse(await self._measure())

    async def _delete_expired(self) -> None:
        """Delete what is older than the retention; what there is no time for, at the next look."""
        retention = self._config.jobs.retention
        before = self._elapsed.now() - int(retention * 1000)
        until = time.monotonic() + _LOOKING_TIME
        while time.monotonic() < until:
            if not await self._store.delete_finished(before, _AT_ONCE):
                pause = min(_EXPIRY_PERIOD, retention / _EXPIRY_PART)
                self._next_expiry = self._elapsed.now() + int(pause * 1000)
                break
        await self._external_jobs.delete_unchanged(before)


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
