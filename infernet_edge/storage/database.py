"""The SQLite file: one writer thread with group commit, one reader thread, migrations.

It contains no table definitions: each owner of tables passes its migrations. All writes that wait
during a commit share the next transaction and its fsync, and their futures are done only after it.
A single writer also avoids the corruption that SQLite 3.7.0 to 3.51.2 can cause when two
connections write or checkpoint a WAL at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from infernet_edge.errors import StartupError, StorageError
from infernet_edge.events.bus import Events
from infernet_edge.logs import log_event
from infernet_edge.storage import copying, damage, replacing
from infernet_edge.storage.lock import FolderLock
from infernet_edge.storage.migrations import Migrations, migrate
from infernet_edge.storage.pages import limit_log, prepare_file
from infernet_edge.storage.salvage import Part, rebuild
from infernet_edge.storage.threads import Commits, Request, Thread

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_RELEASED_AT_ONCE = 8 * 2**20  # bytes; writes wait meanwhile
_CLOSING_TIME = 30.0  # seconds; a commit on a worn SD card may take long
_MAX_CHECKED = 32 * 2**20  # bytes; larger files are not checked at start: it takes too long


class Salvage(NamedTuple):
    """How many rows were saved from a damaged file, which is kept; `total` None: not known."""

    kept: Path
    saved: int
    total: int | None


def _salvages(connection: sqlite3.Connection) -> list[tuple[str, int, int | None]]:
    try:
        return connection.execute("SELECT kept, saved, total FROM salvages").fetchall()
    except sqlite3.OperationalError:
        return []  # no file was damaged: the first rebuild creates the table


class Database:
    """The node's one SQLite file.

    `migrations` gives, for each owner of tables, its steps in order; steps that ran on
    a file never run on it again, so they must never be changed, only added to; see migrations.py.
    """

    def __init__(
        self,
        path: Path,
        migrations: Migrations,
        *,
        dormant: Callable[[], Migrations] = dict,
        first: Sequence[Part] = (),
        on_salvage: Callable[[int], None] = lambda rows: None,
        events: Events | None = None,
    ) -> None:
        """`first` is saved first from a damaged file.

        `on_salvage` is called with the number of rows saved so far, in another thread. `dormant`
        gives the migrations of all parts, also of those that are disabled: their tables are saved
        too.
        """
        self._first = first
        self._events = events or Events()
        self._dormant = dormant
        self._on_salvage = on_salvage
        self.path = path
        self._migrations = migrations
        self._lock = FolderLock(path.parent)
        self.commits = Commits()
        self._writer: Thread | None = None
        self._reader: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problem = ""
        self.writable = False
        self._closing: list[Thread] = []  # threads that were asked to end
        self._changes_before = 0  # of the writer, at the last failure
        self._files: dict[
            Path, tuple[int, int]
        ] = {}  # device and inode of the files that were opened
        self._lost = ""
        self.damaged = asyncio.Event()
        """Set when SQLite finds the file damaged while it is open; the next `open` rebuilds it."""
        self._marking: asyncio.Task[None] | None = None
        self._copying: asyncio.Future[None] | None = None
        self._stop_copying = threading.Event()

    async def lock(self) -> None:
        """Lock the folder, before anything else of a node starts; `open` does it otherwise.

        Raises StartupError when another node uses it, or it cannot be used.
        """
        try:
            await asyncio.to_thread(self._lock.acquire)
        except OSError as error:
            raise self._unusable(error) from error

    def name_owner(self, url: str) -> None:
        """Write the URL of the node into the file of the lock, for the error of a second node."""
        self._lock.name_owner(url)

    async def open(self) -> None:
        """Open or create the file and bring its tables up to date.

        A file that SQLite cannot read, or that is marked as damaged, is kept in quarantine, and the
        rows that can still be read are saved into a new file.
        Raises StartupError when the folder or the file cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        writer, reader = await asyncio.to_thread(self._open_blocking)
        on_damage = self._on_damage
        self._writer = Thread(
            "database-writer",
            writer,
            commits=self.commits,
            on_damage=on_damage,
            on_problem=self.report_problem,
        )
        self._reader = Thread("database-reader", reader, commits=None, on_damage=on_damage)
        self._writer.start()
        self._reader.start()
        self._files = await asyncio.to_thread(self._identify_files)
        self.writable = True

    async def check_files(self) -> None:
        """Check that the files are still those that were opened.

        SQLite continues with files that were deleted, and what it writes is then lost. After such
        a finding nothing is read or written: raises StorageError, here and in `read` and `write`.
        """
        if self._writer is None or self._lost:
            return
        now = await asyncio.to_thread(self._identify_files)
        for path, identity in self._files.items():
            if now.get(path) != identity:
                what = "replaced" if path in now else "deleted"
                self._lost = (
                    f"{path} was {what} while the node had it open. Restore the original file, if"
                    " you have it, and restart the node"
                )
                self.writable = False
                raise StorageError(self._lost)

    def _identify_files(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for suffix in ("", "-wal", "-shm"):
            path = self.path.with_name(self.path.name + suffix)
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found[path] = (status.st_dev, status.st_ino)
        return found

    def write(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *arguments: P.args,
        **unused: P.kwargs,
    ) -> asyncio.Future[T]:
        """Run `function(connection, *arguments)` in the next transaction.

        The future is done when the transaction is on the disk. It fails with StorageError when
        the file cannot be written. The function may run twice (see threads.py) and must do
        nothing but SQL.
        """
        future = self._submit(self._writer, function, arguments)
        future.add_done_callback(self._note_written)
        return future

    def _note_written(self, written: asyncio.Future[Any]) -> None:
        self._note_writable(written)
        self._note_problem(written)

    def _note_writable(self, written: asyncio.Future[Any]) -> None:
        """Set `writable`: a failure clears it, only a committed change sets it again.

        A transaction that changes nothing, such as a DELETE without matches, writes nothing to the
        disk and so proves nothing.
        """
        if written.cancelled() or self._writer is None:
            return
        if isinstance(written.exception(), StorageError):
            self.writable = False
            self._changes_before = self._writer.changes
        elif not self.writable:
            self.writable = self._writer.changes > self._changes_before

    def _note_problem(self, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and isinstance(error := done.exception(), StorageError):
            self.report_problem(str(error))

    def _on_damage(self, reason: str) -> None:
        """Mark the file once; needed because large files are not checked when they are opened."""
        if self._marking is None:
            self._marking = asyncio.create_task(self._mark_damage(reason))

    async def _mark_damage(self, reason: str) -> None:
        try:
            await asyncio.to_thread(damage.mark, self.path, reason)
        except OSError as error:
            log_event(logger, "database.mark_failed", logging.ERROR, reason=str(error))
        finally:
            self.damaged.set()

    def report_problem(self, problem: str) -> None:
        """Log a problem with the storage once, and once that it is over (`problem` is "").

        Only the housekeeper reports that it is over, so that between two of its checks at most one
        problem is logged, regardless of how many requests fail.
        """
        if problem and not self._problem:
            log_event(logger, "storage.failed", logging.ERROR, reason=problem)
            self._events.publish("storage.failed", {"id": "database", "reason": problem})
        elif self._problem and not problem:
            log_event(logger, "storage.recovered")
            self._events.publish("storage.recovered", {"id": "database", "reason": ""})
        self._problem = problem

    @property
    def problem(self) -> str:
        """The last problem that was reported; "" when there is none, or it is over."""
        return self._problem

    async def release_space(self) -> None:
        """Return the pages of deleted rows to the disk, some megabytes of them at a time."""
        # A copy keeps the WAL from being shortened, and waiting for its end would delay all writes.
        release = _release_pages if self._copying is None else _free_pages
        while await self._submit(self._writer, release, (), alone=True):
            pass

    @property
    def is_being_copied(self) -> bool:
        """Whether `copy` runs now."""
        return self._copying is not None

    async def copy(self, target: Path, *, keep_free: int, on_progress: copying.Progress) -> None:
        """Copy what is committed now into the new file `target`, see copying.py; one at a time.

        It runs in a thread of its own, in which `on_progress` is called; it ends when the caller
        is cancelled. Raises StorageError, with nothing left of the copy.
        """
        if self._writer is None or self._lost:
            raise StorageError(self._lost or "The database is closed")
        if self._copying is not None:
            raise StorageError("Another backup is being made now; try again when it has ended")
        self._stop_copying.clear()
        copy = self._copying = asyncio.ensure_future(
            asyncio.to_thread(
                copying.copy_database,
                self.path,
                target,
                keep_free=keep_free,
                stop=self._stop_copying,
                on_progress=on_progress,
            )
        )
        try:
            await asyncio.shield(copy)
        except asyncio.CancelledError:
            self._stop_copying.set()
            await asyncio.wait([copy], timeout=_CLOSING_TIME)
            if copy.done() and not copy.cancelled():
                copy.exception()  # it was stopped; without this, asyncio logs that
                await asyncio.to_thread(target.unlink, missing_ok=True)
            raise
        finally:
            self._copying = None

    async def probe(self) -> None:
        """Try a small write after one failed; sets `writable`, or raises StorageError."""
        await self.write(_touch)
        self.writable = True  # it changes no row, which _note_writable waits for

    def read(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *arguments: P.args,
        **unused: P.kwargs,
    ) -> asyncio.Future[T]:
        """Run `function(connection, *arguments)` on the read-only connection."""
        future = self._submit(self._reader, function, arguments)
        future.add_done_callback(self._note_problem)
        return future

    def _submit(
        self,
        thread: Thread | None,
        function: Callable[..., T],
        arguments: tuple[Any, ...],
        *,
        alone: bool = False,
    ) -> asyncio.Future[T]:
        if thread is None or self._loop is None:
            raise StorageError("The database is closed")
        if self._lost:
            raise StorageError(self._lost)
        future: asyncio.Future[T] = self._loop.create_future()
        thread.submit(Request(function, arguments, future, alone))
        return future

    async def close(self) -> None:
        """Finish the waiting requests and close the file; may be called twice.

        When a thread does not end in time, the file stays locked as long as this process lives:
        another node must not open it while that thread still writes.
        """
        self._lost = ""
        if self._copying is not None:
            self._stop_copying.set()
            await asyncio.wait([self._copying], timeout=_CLOSING_TIME)
        # The writer is last: closing the last connection empties the WAL.
        self._closing += [each for each in (self._reader, self._writer) if each is not None]
        self._reader = self._writer = None
        for thread in self._closing:
            thread.end()
            await asyncio.to_thread(thread.join, _CLOSING_TIME)
        await asyncio.sleep(0)  # lets the callbacks of the threads' last results run
        if self._marking is not None:
            await self._marking
        self._closing = [thread for thread in self._closing if thread.is_alive()]
        if self._closing:
            log_event(logger, "database.close_timed_out", logging.ERROR, seconds=_CLOSING_TIME)
            return
        self._lock.release()

    def _open_blocking(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        try:
            self._lock.acquire()
            replacing.finish(self.path.parent)
            replacing.discard(self.path.parent)
            copying.remove_unfinished(self.path)
            if (kept := damage.find(self.path)) is not None:
                self._rebuild(kept)
            try:
                writer = self._open_writer()
            except sqlite3.DatabaseError as error:
                if not damage.is_corrupt(error):
                    raise
                self._rebuild(damage.quarantine(self.path, str(error)))
                writer = self._open_writer()
            address = f"{self.path.absolute().as_uri()}?mode=ro"
            reader = sqlite3.connect(
                address, uri=True, check_same_thread=False, isolation_level=None
            )
            reader.execute("PRAGMA busy_timeout = 5000")
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        return writer, reader

    def _unusable(self, error: Exception) -> StartupError:
        return StartupError(
            f"The database {self.path} cannot be opened ({error}). Check that its folder"
            " is writable for this user and has space, or set storage.path to another one."
        )

    def _open_writer(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        try:
            prepare_file(connection)
            for pragma in (
                "busy_timeout = 5000",
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = OFF",  # else each deleted byte is written once more
                "temp_store = MEMORY",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            limit_log(connection)
            if self.path.stat().st_size <= _MAX_CHECKED:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if answer != "ok":
                    raise damage.corrupt(answer)
            migrate(connection, self.path, self._migrations)
        except UnicodeDecodeError as error:  # SQLite quotes what it read in the schema
            connection.close()
            raise damage.corrupt(str(error)) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _rebuild(self, kept: Path) -> None:
        """Make a new file from the rows of a damaged one that can be read."""
        saved = rebuild(
            kept,
            self.path,
            {**self._dormant(), **self._migrations},
            first=self._first,
            on_progress=self._on_salvage,
        )
        log_event(
            logger,
            "database.salvaged",
            logging.ERROR,
            saved=saved.rows,
            total=saved.total,
            kept=str(kept),
            **({} if saved.all_read else {"reason": "The disk has no space for the other rows"}),
        )

    async def salvages(self) -> list[Salvage]:
        """What was saved from damaged files that still exist; raises StorageError."""
        found = await self.read(_salvages)
        return [
            Salvage(self.path.with_name(name), saved, total)
            for name, saved, total in found
            if self.path.with_name(name).exists()
        ]


def _release_pages(connection: sqlite3.Connection) -> bool:
    """Shorten the file by some pages; returns whether there are more.

    The log keeps its length: while it grows again, each commit would write several blocks more.
    """
    more = _free_pages(connection)
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    return more


def _free_pages(connection: sqlite3.Connection) -> bool:
    """The same, as far as the next checkpoint shortens the file.

    The pragma frees one page per step of the statement, so it has to be run to its end.
    """
    pages = _RELEASED_AT_ONCE // int(connection.execute("PRAGMA page_size").fetchone()[0])
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0]) > pages


def _touch(connection: sqlite3.Connection) -> None:
    """Write a number that is not used; SQLite writes nothing where nothing changes."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {(number + 1) % 2**31}")
