"""Scheduled backups: the node writes one into a folder regularly, and keeps the newest.

When one is due depends on the time for which the node has run, not on the wall clock, and they are
numbered, so that a clock that is set neither skips a backup nor deletes the newest. Their names
have the id of the node, so that several nodes may use one folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from infernet_edge.backup.archive import ArchiveWriter, UnusableArchive
from infernet_edge.backup.contents import CannotBackUp, Contents, gather, node_id
from infernet_edge.backup.database import content_of, tables_of
from infernet_edge.backup.output import explain, new_file
from infernet_edge.backup.record import LastBackup, read_last, store_last
from infernet_edge.clock import milliseconds
from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.model import DATABASE, Config
from infernet_edge.errors import StorageError
from infernet_edge.logs import log_event
from infernet_edge.storage.copying import check_room
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import ElapsedTime
from infernet_edge.tasks import BlockingReads, cancel

logger = logging.getLogger(__name__)

_AFTER_START: Final = 600.0  # seconds; at the start an SD card has enough to do
_AFTER_FAILURE: Final = 3600.0  # seconds
_WHILE_BUSY: Final = 60.0  # seconds, when `infernet-edge backup` is making a copy
_READING: Final = 30.0  # seconds for the files of the configuration
_WORKING: Final = 4 * 3600.0  # seconds for each step in the folder: an archive may have gigabytes
_CLEANING: Final = 10.0  # seconds for removing the copy at the end
_LONGEST_SLEEP: Final = 3600.0  # seconds; the loop's clock stops while the machine sleeps
_OTHERS: Final = 2**20  # bytes of an archive besides its database
_SLOW: Final = (
    "The files of the configuration, or the folder of backup.path, cannot be used now: do their"
    " disks answer? The node tries again"
)


class BackupSchedule:
    """The scheduled backups of a node whose `backup.path` is set."""

    def __init__(
        self, config: Config, source: Path | None, database: Database, elapsed: ElapsedTime
    ) -> None:
        """`source` is the file of the configuration, if there is one."""
        self._config = config
        self._source = source
        self._database = database
        self._elapsed = elapsed
        self._folder = Path(config.backup.path or "")
        self._prefix = f"infernet-edge-{node_id(config.storage_path)}-"
        self._name = re.compile(rf"{re.escape(self._prefix)}(\d{{6,}})-\d{{8}}T\d{{6}}Z\.tar")
        self._last: LastBackup | None = None
        self._due = 0
        # In threads that do not keep the process from ending where a disk does not answer.
        self._reads = BlockingReads(_READING)
        self._work = BlockingReads(_WORKING)
        self.problem = ""
        """Why the last try failed; "" when it succeeded."""

    def apply(self, config: Config) -> None:
        """Make backups by this configuration from now on; its `backup` needs a restart."""
        self._config = config

    @property
    def report(self) -> dict[str, Any]:
        """What `infernet-edge status` shows: the last backup, and seconds until the next one."""
        last = self._last
        return {
            "folder": str(self._folder),
            "last": None if last is None else {"file": last.file, "made": last.made},
            "next_in": max(0, self._due - self._elapsed.now()) // 1000,
            "problem": self.problem,
        }

    async def run(self) -> None:
        """Make backups until cancelled."""
        every = self._config.backup.every
        self._last = await self._database.read(read_last)
        self._set_due(min(every, _AFTER_START))
        if self._last is not None:
            # A number in the future, of a damaged database, must not put it off.
            last = min(self._last.elapsed, self._elapsed.now())
            self._due = max(self._due, last + int(every * 1000))
        while True:
            if (left := self._due - self._elapsed.now()) > 0:
                await asyncio.sleep(min(left / 1000, _LONGEST_SLEEP))
                continue
            if self._database.is_being_copied:
                self._set_due(_WHILE_BUSY)
                continue
            try:
                await self._make()
            except (CannotBackUp, ConfigurationError, StorageError, UnusableArchive) as error:
                self._note_failure(str(error))
            except TimeoutError:  # which is an OSError
                self._note_failure(_SLOW)
            except OSError as error:
                self._note_failure(explain(self._folder, error))
            except sqlite3.Error as error:
                self._note_failure(f"The copy of the database cannot be read: {error}")
            else:
                self.problem = ""
                self._set_due(every)

    def _set_due(self, seconds: float) -> None:
        self._due = self._elapsed.now() + int(seconds * 1000)

    def _note_failure(self, reason: str) -> None:
        """Log it once, until a backup succeeds."""
        if not self.problem:
            log_event(logger, "backup.failed", logging.ERROR, reason=reason)
        self.problem = f"The last scheduled backup failed: {reason}"
        self._set_due(min(self._config.backup.every, _AFTER_FAILURE))

    async def _make(self) -> None:
        """Make one backup now, and delete those that are too many."""
        began = time.monotonic()
        keep_free = self._config.storage.min_free_bytes
        copy = self._folder / f".{self._prefix}database.copying"
        newest = await self._work.run(partial(self._prepare, copy, keep_free))
        number = max(newest, 0 if self._last is None else self._last.number) + 1
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        target = self._folder / f"{self._prefix}{number:06}-{moment}.tar"
        stop = threading.Event()
        try:
            await self._database.copy(
                copy, keep_free=keep_free, on_progress=lambda done, total: None
            )
            read = partial(gather, self._config, self._source, os.environ)
            contents = await self._reads.run(read)
            write = partial(self._write, contents, copy, target, stop)
            writing = asyncio.ensure_future(self._work.run(write))
            try:
                size = await asyncio.shield(writing)
            except asyncio.CancelledError:
                stop.set()
                await asyncio.wait([writing], timeout=_WHILE_BUSY)
                await cancel(writing)
                raise
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLEANING):
                    await self._work.run(partial(copy.unlink, missing_ok=True))
        self._last = LastBackup(number, self._elapsed.now(), milliseconds(), target.name, size)
        await self._database.write(store_last, self._last)
        await self._work.run(self._delete_old)
        seconds = round(time.monotonic() - began, 1)
        log_event(logger, "backup.made", file=str(target), size=size, seconds=seconds)

    def _prepare(self, copy: Path, keep_free: int) -> int:
        """Check the folder, and remove what a killed node left; the largest number there."""
        if not self._folder.is_dir():
            raise CannotBackUp(
                f"There is no folder {self._folder} (backup.path): make it, or connect its disk"
            )
        for left in self._folder.glob(f".{self._prefix}*.partial"):
            left.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
        size = self._config.database_path.stat().st_size
        # The copy, and the archive made of it.
        check_room(self._folder, 2 * size + _OTHERS, keep_free)
        return max((number for number, _ in self._existing()), default=0)

    def _write(self, contents: Contents, copy: Path, target: Path, stop: threading.Event) -> int:
        """Write the archive; its size in bytes."""
        with new_file(target) as file:
            writer = ArchiveWriter(file)
            for name, content in contents.files.items():
                writer.add(name, len(content), [content])
            writer.add(DATABASE, copy.stat().st_size, _until(stop, content_of(copy)))
            writer.finish(contents.with_tables(tables_of(copy)))
        return target.stat().st_size

    def _delete_old(self) -> None:
        for _, path in sorted(self._existing())[: -self._config.backup.keep]:
            path.unlink(missing_ok=True)

    def _existing(self) -> Iterator[tuple[int, Path]]:
        for path in self._folder.iterdir():
            if found := self._name.fullmatch(path.name):
                yield int(found[1]), path


def _until(stop: threading.Event, content: Iterator[bytes]) -> Iterator[bytes]:
    for part in content:
        if stop.is_set():
            raise StorageError("The backup was stopped")
        yield part
