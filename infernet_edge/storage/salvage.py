"""Copies the rows of a damaged database that can still be read into a new one.

Running it again is harmless, so that one that was interrupted is started again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from infernet_edge.logs import log_event
from infernet_edge.storage.damaged_table import (
    DAMAGE,
    Row,
    Table,
    count_rows,
    is_stored,
    readable_rows,
)
from infernet_edge.storage.migrations import Migrations, migrate, versions_of

logger = logging.getLogger(__name__)


_AT_ONCE = 500  # rows in one transaction
_BYTES_AT_ONCE = 4 * 2**20  # about; no more of them are begun
_MIN_FREE = 16 * 2**20  # bytes, for the transaction and for the node's first writes


_SALVAGES = (
    "CREATE TABLE IF NOT EXISTS salvages"
    " (kept TEXT PRIMARY KEY, saved INTEGER NOT NULL, total INTEGER) STRICT"
)


class Part(NamedTuple):
    """What to copy: a table, or those of its rows that a condition names.

    Without those that are `needed`, the node would forget what it has to do. With `of`, a query of
    the new database, only rows whose first key is among its answers.
    """

    table: str
    condition: str = "true"
    needed: bool = False
    of: str = ""


class Saved(NamedTuple):
    """How many rows were copied, and how many there were; None when that cannot be counted.

    `all_read`: nothing was left out for want of space.
    """

    rows: int
    of: int | None
    all_read: bool = True


def rebuild(
    kept: Path,
    path: Path,
    migrations: Migrations,
    *,
    first: Sequence[Part],
    on_progress: Callable[[int], None],
) -> Saved:
    """Make the file `path` of what can be read of the damaged file `kept`.

    It gets its name when it is whole. So a start that finds no file but a damaged one knows that an
    earlier one was interrupted, and begins anew. Blocks; raises OSError and sqlite3.Error.
    """
    half = path.with_name(f"{path.name}.saving")
    for suffix in ("", "-journal", "-wal", "-shm"):
        half.with_name(half.name + suffix).unlink(missing_ok=True)
    os.close(os.open(half, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    target = sqlite3.connect(half, isolation_level=None)
    damaged = sqlite3.connect(kept, isolation_level=None)
    saved = None
    try:
        target.execute("PRAGMA auto_vacuum = INCREMENTAL")
        versions: dict[str, int] = {}
        with contextlib.suppress(*DAMAGE):
            # Else SQLite reads nothing at all when the file is too short, or a name is damaged.
            damaged.execute("PRAGMA writable_schema = ON")
            versions = versions_of(damaged)
        # The tables are first made as the damaged file has them: the steps that it has not seen
        # may have to do with the rows.
        seen = {owner: steps for owner, steps in versions.items() if owner in migrations}
        migrate(target, path, migrations, no_further=seen)
        copy_schema(damaged, target, migrations)
        saved = salvage(damaged, target, first, on_progress, lambda: _has_room(path.parent))
        migrate(target, path, migrations)
        target.execute(_SALVAGES)
        row = (kept.name, saved.rows, saved.of)
        target.execute("INSERT OR REPLACE INTO salvages VALUES (?, ?, ?)", row)
    finally:
        damaged.close()
        target.close()
        if saved is None:  # it would take the room that is missing
            half.unlink()
    half.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return saved


def salvage(
    damaged: sqlite3.Connection,
    target: sqlite3.Connection,
    parts: Sequence[Part],
    on_progress: Callable[[int], None] = lambda rows: None,
    has_room: Callable[[], bool] = lambda: True,
) -> Saved:
    """Copy what can be read, the parts in their order, then all other tables.

    `on_progress` is told the number of rows so far, now and then. Where there is no room, it ends.
    Blocks, as long as it takes to read the file. Raises OSError when what is needed has no room.
    """
    # Text that is none is kept for now: `_store` refuses its row.
    damaged.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    tables = {
        str(row[0])
        for row in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not str(row[0]).startswith("sqlite_") and row[0] != "schema_versions"
    }
    named = [part for part in parts if part.table in tables]
    needed = [part for part in named if part.needed]
    rest = sorted(
        tables - {part.table for part in named if part.condition == "true" and not part.of}
    )
    # What is not named is small: the chain's state, marks and the like.
    ordered = [*needed, *map(Part, rest), *(part for part in named if not part.needed)]
    done, all_read = 0, True
    for part in ordered:
        try:
            table = Table(damaged, target, part.table)
        except DAMAGE:
            continue
        if not table.is_complete:
            continue
        try:
            for rows in _in_batches(_rows_of(damaged, target, table, part)):
                if not has_room():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                _store(target, table, rows)
                done += len(rows)
                on_progress(done)
        except OSError as error:
            if target.in_transaction:
                target.execute("ROLLBACK")
            if part.needed or error.errno != errno.ENOSPC:
                raise
            all_read = False
            break
        except Exception:  # what one table holds must not cost the others
            if target.in_transaction:
                target.execute("ROLLBACK")
            logger.exception("database.table_unsaved", extra={"fields": {"table": part.table}})
    with contextlib.suppress(*DAMAGE):
        # Numbers of rows that are lost are given again: what was noted of them is not about those.
        target.execute("DELETE FROM age_marks")
    copied, counts = 0, []
    for name in sorted(tables):
        here = int(target.execute(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608 - its schema
        copied += here
        counts.append(count_rows(damaged, name, here))
    of = None if None in counts else sum(each or 0 for each in counts)
    return Saved(copied, of, all_read)


def copy_schema(
    damaged: sqlite3.Connection, target: sqlite3.Connection, migrations: Migrations
) -> None:
    """Make the tables, columns and indexes that only the damaged database has.

    They are of parts that are switched off, or of a newer version that was in use before; the
    numbers of their migrations are copied with them. What of it cannot be read is left out, all of
    it for an owner that is newer: that version would not make again what is missing.
    """
    try:
        versions = damaged.execute(
            "SELECT owner, version, readable_since FROM schema_versions"
        ).fetchall()
        found = damaged.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            " ORDER BY type != 'table'"
        ).fetchall()
    except DAMAGE:
        return
    newer = [
        row
        for row in versions
        if isinstance(row[1], int)
        and isinstance(row[2], int)
        and row[1] > len(migrations.get(row[0], ()))
    ]
    if not newer:
        return
    here = {row[0] for row in target.execute("SELECT name FROM sqlite_master")}
    target.execute("BEGIN")
    try:
        for name, sql in found:
            if name not in here and sql.upper().startswith("CREATE TABLE"):
                target.execute(sql)
            elif name not in here:
                _try_to_make(target, sql)
            elif sql.upper().startswith("CREATE TABLE"):
                _add_columns(damaged, target, name)
        target.executemany("INSERT OR REPLACE INTO schema_versions VALUES (?, ?, ?)", newer)
        target.execute("COMMIT")
    except DAMAGE as error:
        target.execute("ROLLBACK")
        log_event(logger, "database.schema_unsaved", logging.WARNING, reason=str(error))


def _try_to_make(target: sqlite3.Connection, sql: str) -> None:
    """Make an index or a trigger, without which the tables are whole all the same."""
    try:
        target.execute(sql)
    except DAMAGE as error:
        log_event(logger, "database.schema_unsaved", logging.WARNING, reason=str(error))


def _add_columns(damaged: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    """Add the columns that a table has in the damaged database only; they have defaults."""
    here = {row[1] for row in target.execute(f"PRAGMA table_info({table})")}
    for _, name, kind, not_null, default, _ in damaged.execute(f"PRAGMA table_info({table})"):
        if name not in here:
            rule = " NOT NULL" if not_null else ""
            rule += "" if default is None else f" DEFAULT {default}"
            target.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}{rule}")


def _has_room(folder: Path) -> bool:
    return shutil.disk_usage(folder).free > _MIN_FREE


def _store(target: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> None:
    """Store rows; one whose values the table does not take was damaged, and is left out."""
    columns, marks = ",".join(table.columns), ",".join("?" * len(table.columns))
    statement = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - its schema
    primary = [table.columns.index(key) for key in table.primary]
    with _writing():
        target.execute("BEGIN IMMEDIATE")
    for row in rows:
        try:
            with _writing():
                stored = target.execute(statement, row).rowcount
        except (sqlite3.IntegrityError, UnicodeEncodeError) as error:
            log_event(logger, "database.row_damaged", table=str(table), reason=str(error))
        else:
            key = [row[place] for place in primary]
            if not stored and not is_stored(target, table, key):
                reason = "another row has a value that only one may have"
                log_event(logger, "database.row_damaged", table=str(table), reason=reason)
    with _writing():
        target.execute("COMMIT")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Raise OSError when the disk does not take what SQLite writes."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _rows_of(
    damaged: sqlite3.Connection, target: sqlite3.Connection, table: Table, part: Part
) -> Iterator[Row]:
    """The rows of a part that can be read."""
    if not part.of:
        yield from readable_rows(damaged, target, table, part.condition)
        return
    columns = ",".join(table.columns)
    query = f"SELECT {columns} FROM {table} WHERE {table.keys[0]} = ?"  # noqa: S608 - its schema
    for (key,) in target.execute(part.of).fetchall():
        with contextlib.suppress(*DAMAGE):
            yield from damaged.execute(query, (key,))


def _in_batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(each) for each in row if isinstance(each, bytes | str))
        if len(batch) == _AT_ONCE or size >= _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
