"""The SQLite file: group commit, faults, corruption, locks, migrations."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.errors import StartupError, StorageError, TooLargeToStore
from infernet_edge.storage import database as database_module
from infernet_edge.storage.database import Database
from infernet_edge.storage.lock import is_in_use
from infernet_edge.storage.migrations import Breaking
from infernet_edge.storage.pages import PAGE_BYTES
from tests.support.breaking import full_disk, read_only
from tests.support.managing import eventually
from tests.support.process import ROOT

MIGRATIONS = {"numbers": ("CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT",)}


def insert(connection: sqlite3.Connection, number: int) -> int:
    connection.execute("INSERT INTO numbers VALUES (?)", (number,))
    return number


def stored(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "data" / "file.sqlite", MIGRATIONS)
    await opened.open()
    yield opened
    await opened.close()


async def reopened(path: Path) -> list[int]:
    again = Database(path, MIGRATIONS)
    await again.open()
    try:
        return await again.read(stored)
    finally:
        await again.close()


async def test_what_was_written_is_read(database: Database) -> None:
    assert await database.write(insert, 1) == 1
    assert await database.read(stored) == [1]
    await database.close()
    assert await reopened(database.path) == [1]


async def test_it_is_durable_and_private(database: Database) -> None:
    def pragmas(connection: sqlite3.Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "auto_vacuum", "busy_timeout", "temp_store")
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    found = await database.write(lambda connection: pragmas(connection))
    full, incremental, memory = 2, 2, 2
    assert found == {
        "journal_mode": "wal",
        "synchronous": full,
        "auto_vacuum": incremental,
        "busy_timeout": 5000,
        "temp_store": memory,
    }
    assert database.path.stat().st_mode & 0o077 == 0
    assert database.path.parent.stat().st_mode & 0o077 == 0


async def test_waiting_writes_share_a_transaction(database: Database) -> None:
    """While one commit is on its way the others gather, and go together."""
    begun, gate = threading.Event(), threading.Event()
    statements: list[str] = []

    def slow(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(statements.append)
        begun.set()
        gate.wait(20)

    first = database.write(slow)
    assert await asyncio.to_thread(begun.wait, 20)
    others = [database.write(insert, number) for number in range(500)]
    gate.set()
    await asyncio.gather(first, *others)
    assert statements.count("COMMIT") == 2  # the first one's, and one for all others


async def test_a_transaction_has_a_bound(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.storage.threads.MAX_PER_COMMIT", 10)
    commits: list[int] = []

    def watch(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(
            lambda statement: commits.append(1) if statement == "COMMIT" else None
        )

    await database.write(watch)
    await asyncio.gather(*(database.write(insert, number) for number in range(95)))
    assert len(commits) >= 10
    assert await database.read(stored) == list(range(95))


async def test_writes_are_done_in_their_order(database: Database) -> None:
    finished: list[int] = []
    writes = [database.write(insert, number) for number in range(200)]
    for write in writes:
        write.add_done_callback(lambda done: finished.append(done.result()))
    await asyncio.gather(*writes)
    assert finished == list(range(200))


async def test_one_faulty_write_fails_alone(database: Database) -> None:
    await database.write(insert, 50)
    gate = threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        gate.wait(20)

    def mistaken(connection: sqlite3.Connection) -> None:
        insert(connection, 1000)
        raise ZeroDivisionError("ours")

    waiting = database.write(slow)
    writes = [database.write(insert, number) for number in range(100)]  # 50 is there already
    fault = database.write(mistaken)
    gate.set()
    await waiting
    results = await asyncio.gather(*writes, fault, return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert [type(failure) for failure in failed] == [StorageError, ZeroDivisionError]
    assert isinstance(results[50], StorageError)
    assert await database.read(stored) == list(range(100))  # nothing of the faulty ones


async def test_a_cancelled_caller_leaves_the_others_alone(database: Database) -> None:
    gate = threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        gate.wait(20)

    waiting = database.write(slow)
    writes = [database.write(insert, number) for number in range(10)]
    writes[3].cancel()
    gate.set()
    await waiting
    await asyncio.gather(*writes, return_exceptions=True)
    assert await database.read(stored) == list(range(10))
    assert await database.write(insert, 11) == 11


async def test_faults_of_reads_are_their_callers(database: Database) -> None:
    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM nowhere")

    def writes(connection: sqlite3.Connection) -> None:
        insert(connection, 1)

    for faulty in (wrong, writes):
        with pytest.raises(StorageError, match="cannot be used"):
            await database.read(faulty)
    assert await database.read(stored) == []


@pytest.mark.parametrize("broken", [read_only, full_disk])
async def test_writable_is_whether_it_can_be_written(database: Database, broken: object) -> None:
    def much(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS much (text TEXT) STRICT")
        connection.execute("INSERT INTO much VALUES (?)", ("x" * 100_000,))

    assert database.writable
    with broken(database):  # type: ignore[operator]
        with pytest.raises(StorageError):
            await database.write(much)
        assert not database.writable
        assert await database.read(stored) == []
    await database.probe()
    assert database.writable
    await database.write(much)


async def test_the_lock_is_held_as_long_as_something_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_CLOSING_TIME", 0.05)
    database = Database(tmp_path / "file.sqlite", MIGRATIONS)
    await database.open()
    released = threading.Event()

    def write_slowly(connection: sqlite3.Connection) -> None:
        released.wait(30)
        insert(connection, 1)

    writing = database.write(write_slowly)
    await database.close()
    assert is_in_use(tmp_path)
    released.set()
    await writing
    monkeypatch.setattr(database_module, "_CLOSING_TIME", 30)
    await database.close()
    assert not is_in_use(tmp_path)
    assert await reopened(database.path) == [1]


async def test_a_problem_is_logged_once_regardless_of_failed_requests(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    caplog.set_level(logging.INFO, "infernet_edge")
    with read_only(database):
        for number in range(100):
            with pytest.raises(StorageError):
                await database.write(insert, number)
    assert logged() == ["storage.failed"]
    for number in range(3):
        await database.write(insert, number)
        database.report_problem("")
    assert logged() == ["storage.failed", "storage.recovered"]

    def unreadable(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    for _ in range(3):
        with pytest.raises(StorageError):
            await database.read(unreadable)
    assert logged() == ["storage.failed", "storage.recovered", "storage.failed"]
    assert database.writable


async def test_a_write_that_changes_nothing_does_not_show_that_the_file_can_be_written(
    database: Database,
) -> None:
    def create(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE much (text TEXT) STRICT")

    def much(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO much VALUES (?)", ("x" * 100_000,))

    def change_nothing(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM numbers WHERE n = -1")

    await database.write(create)
    with full_disk(database):
        with pytest.raises(StorageError):
            await database.write(much)
        await database.write(change_nothing)
        assert not database.writable
    await database.write(change_nothing)
    assert not database.writable
    await database.write(insert, 2)
    assert database.writable


async def test_a_probe_of_a_read_only_file_fails(database: Database) -> None:
    with read_only(database), pytest.raises(StorageError):
        await database.probe()
    assert not database.writable


async def test_space_is_released_step_by_step(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_RELEASED_AT_ONCE", 16 * PAGE_BYTES)
    steps: list[int] = []
    real = database_module._release_pages  # noqa: SLF001

    def counted(connection: sqlite3.Connection) -> bool:
        more = real(connection)
        steps.append(pages(connection))
        return more

    def pages(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE much (text TEXT) STRICT")
        for _ in range(20):
            connection.execute("INSERT INTO much VALUES (?)", ("x" * 50_000,))

    def empty(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM much")

    monkeypatch.setattr(database_module, "_release_pages", counted)
    await database.write(fill)
    before = await database.read(pages)
    await database.write(empty)
    giving = asyncio.create_task(database.release_space())
    await database.write(insert, 1)  # other requests run in between
    await giving
    sizes = [before, *steps]
    # With a page of the map of pages, sometimes.
    assert all(0 < size - after <= 17 for size, after in zip(sizes, steps, strict=False))
    assert len(steps) < before / 16 + 3  # each frees all that it may
    assert await database.read(pages) < 40 < before
    assert database.path.stat().st_size < 40 * PAGE_BYTES
    assert await database.read(stored) == [1]


async def test_a_probe_really_writes(database: Database) -> None:
    journal = database.path.with_name(database.path.name + "-wal")
    for _ in range(3):
        before = journal.read_bytes()
        await database.probe()
        assert journal.read_bytes() != before


async def test_closing_finishes_what_waits_and_may_be_done_twice(database: Database) -> None:
    writes = [database.write(insert, number) for number in range(100)]
    await database.close()
    assert [write.result() for write in writes] == list(range(100))
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        database.write(insert, 101)
    with pytest.raises(StorageError, match="closed"):
        database.read(stored)
    assert not database.path.with_name(database.path.name + "-wal").exists()
    assert await reopened(database.path) == list(range(100))


async def test_a_second_node_in_the_same_folder_is_refused(database: Database) -> None:
    second = Database(database.path, MIGRATIONS)
    with pytest.raises(StartupError, match=r"This node runs already.*storage\.path"):
        await second.open()
    await second.close()
    assert await database.write(insert, 1) == 1


async def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(tmp_path / "file" / "below" / "file.sqlite", MIGRATIONS)
    with pytest.raises(StartupError, match=r"storage\.path"):
        await database.open()
    await database.close()


async def test_a_file_of_a_newer_version_is_left_alone(database: Database) -> None:
    await database.close()
    newer = {"numbers": (*MIGRATIONS["numbers"], Breaking("CREATE TABLE more (n INTEGER) STRICT"))}
    upgraded = Database(database.path, newer)
    await upgraded.open()
    await upgraded.write(insert, 1)
    await upgraded.close()
    again = Database(database.path, MIGRATIONS)
    with pytest.raises(StartupError, match="newer infernet-edge"):
        await again.open()
    await again.close()
    assert [file.name for file in database.path.parent.iterdir() if "corrupt" in file.name] == []
    upgraded = Database(database.path, newer)
    await upgraded.open()
    assert await upgraded.read(stored) == [1]
    await upgraded.close()


async def test_a_migration_runs_once(database: Database) -> None:
    await database.write(insert, 1)
    await database.close()
    more = {**MIGRATIONS, "others": ("CREATE TABLE others (n INTEGER) STRICT",)}
    for _ in range(2):
        extended = Database(database.path, more)
        await extended.open()
        assert await extended.read(stored) == [1]
        await extended.close()


async def test_a_migration_that_fails_changes_nothing(database: Database) -> None:
    await database.write(insert, 1)
    await database.close()
    wrong = {"numbers": (*MIGRATIONS["numbers"], "CREATE TABLE more (n INTEGER)", "rubbish")}
    broken = Database(database.path, wrong)
    with pytest.raises(StartupError):
        await broken.open()
    await broken.close()
    assert await reopened(database.path) == [1]


def overwrite_beginning(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all, " * 50)


def overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def zeros(path: Path) -> None:
    path.write_bytes(b"\x00" * 5000)


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


@pytest.mark.parametrize(
    ("damage", "most"), [(overwrite_beginning, 0), (overwrite_middle, 0), (zeros, 0), (half, 1000)]
)
async def test_a_corrupt_file_is_quarantined(
    database: Database, damage: object, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2000):
        database.write(insert, number)
    await database.close()
    damage(database.path)  # type: ignore[operator]
    saved = await reopened(database.path)
    assert saved == list(range(len(saved)))
    assert len(saved) <= most
    (kept,) = [file for file in database.path.parent.iterdir() if "corrupt" in file.name]
    assert kept.stat().st_size > 0
    assert "database.quarantined" in caplog.text


async def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite"
    path.touch()
    assert await reopened(path) == []


async def test_names_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "ü ?mode=memory#x %41" / "file.sqlite"
    database = Database(path, MIGRATIONS)
    await database.open()
    await database.write(insert, 1)
    assert await database.read(stored) == [1]
    await database.close()
    assert path.exists()


WRITER = """
import asyncio, sys
from pathlib import Path
from infernet_edge.storage.database import Database
from infernet_edge.storage.lock import is_in_use
from tests.storage.test_database import MIGRATIONS, insert

async def main():
    database = Database(Path(sys.argv[1]), MIGRATIONS)
    await database.open()
    number = 0

    async def write():
        nonlocal number
        while True:
            mine, number = number, number + 1
            await database.write(insert, mine)
            sys.stdout.write(f"{mine}\\n")
            sys.stdout.flush()

    await asyncio.gather(*(write() for _ in range(50)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 500, 3000])
async def test_no_acknowledged_write_is_lost(tmp_path: Path, acknowledged: int) -> None:
    """Killed in the middle of a stream of writes, at the moment of some acknowledgement."""
    path = tmp_path / "file.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    reported = [int(process.stdout.readline()) for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()  # not communicate(): it forgets what readline() read ahead
    process.stdout.close()
    process.wait(20)
    reported += [int(line) for line in rest.split("\n")[:-1] if line]
    found = set(await reopened(path))
    assert set(reported) <= found
    # What was never acknowledged may be there, but nothing that was never written.
    assert found <= set(range(len(reported) + 50))


async def test_threads_end_with_the_database(database: Database) -> None:
    names = {"database-writer", "database-reader"}
    assert names <= {thread.name for thread in threading.enumerate()}
    await database.close()
    await eventually(lambda: not names & {thread.name for thread in threading.enumerate()})


async def test_a_text_that_is_too_long_is_no_fault_of_the_storage(database: Database) -> None:
    def too_long(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT zeroblob(?)", (2**31 - 1,)).fetchone()

    with pytest.raises(TooLargeToStore):
        await database.write(too_long)
    assert database.writable
    assert await database.write(insert, 1) == 1


class Large(bytearray):
    """A text whose end can be observed."""


@pytest.mark.parametrize("faulty", [False, True])
async def test_what_was_written_is_not_kept(database: Database, faulty: bool) -> None:
    """Neither by the thread that waits for more, nor by an error that is still referenced."""

    def write(connection: sqlite3.Connection, text: Large) -> None:
        connection.execute("SELECT length(?)", (text,))
        if faulty:
            connection.execute("nonsense")

    text = Large(b"x" * 1000)
    gone = weakref.ref(text)
    written = database.write(write, text)
    del text
    await asyncio.wait([written])
    error = written.exception()
    assert (error is not None) == faulty
    gc.disable()
    try:
        await eventually(lambda: gone() is None)
    finally:
        gc.enable()
