"""Copies the rows of a damaged database that can still be read into a new one.

Running it again is harmless, so an interrupted run is simply repeated.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from infernet_edge.logs import log_event, log_exception
from infernet_edge.storage.damaged_table import (
    DAMAGE,
    Row,
    Table,
    count_rows,
    is_stored,
    readable_rows,
)
from infernet_edge.storage.leaf_pages import leaf_rows
from infernet_edge.storage.migrations import Migrations, migrate, versions_of
from infernet_edge.storage.pages import prepare_file

logger = logging.getLogger(__name__)

_AT_ONCE = 500  # rows in one transaction
_BYTES_AT_ONCE = 4 * 2**20  # approximately: a batch ends with the row that reaches it
_STEPS_AT_ONCE = 100_000  # of SQLite, a second at most, between two calls of `on_progress`
_MIN_FREE = 16 * 2**20  # bytes, for the transaction and for the node's first writes


_SALVAGES = (
    "CREATE TABLE IF NOT EXISTS salvages"
    " (kept TEXT PRIMARY KEY, saved INTEGER NOT NULL, total INTEGER) STRICT"
)


class Part(NamedTuple):
    """What to copy: a table, or those of its rows that a condition names.

    Without rows that are `needed`, work would be lost, so they must be saved completely. With
    `keys_from`, a query of the new database, only rows whose first key is among its results.
    """

    table: str
    condition: str = "true"
    needed: bool = False
    keys_from: str = ""


class Saved(NamedTuple):
    """How many rows were copied, and how many there were; None when that cannot be counted.

    `all_read`: nothing was left out for lack of disk space.
    """

    rows: int
    total: int | None
    all_read: bool = True


def rebuild(
    kept: Path,
    path: Path,
    migrations: Migrations,
    *,
    first: Sequence[Part],
    on_progress: Callable[[int], None],
) -> Saved:
    """Make the file `path` from what can be read of the damaged file `kept`.

    It gets its name when it is complete. So a start that finds only a damaged file detects that an
    earlier rebuild was interrupted, and starts it again. Blocks; raises OSError and sqlite3.Error.
    """
    partial = path.with_name(f"{path.name}.saving")
    for suffix in ("", "-journal", "-wal", "-shm"):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    target = sqlite3.connect(partial, isolation_level=None)
    damaged = sqlite3.connect(kept, isolation_level=None)
    saved = None
    try:
        prepare_file(target)
        versions: dict[str, int] = {}
        with contextlib.suppress(*DAMAGE):
            # Without it SQLite reads nothing when the file is too short, or a name is damaged.
            damaged.execute("PRAGMA writable_schema = ON")
            versions = versions_of(damaged)
        # First the tables as the damaged file has them, then the rows, then the other steps: these
        # may change the rows.
        seen = {owner: steps for owner, steps in versions.items() if owner in migrations}
        migrate(target, path, migrations, up_to=seen)
        copy_schema(damaged, target, migrations)
        saved = salvage(damaged, target, first, on_progress, lambda: _has_space(path.parent))
        migrate(target, path, migrations)
        target.execute(_SALVAGES)
        row = (kept.name, saved.rows, saved.total)
        target.execute("INSERT OR REPLACE INTO salvages VALUES (?, ?, ?)", row)
    finally:
        damaged.close()
        target.close()
        if saved is None:  # it would use the disk space that is missing
            partial.unlink()
    partial.replace(path)
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
    has_space: Callable[[], bool] = lambda: True,
) -> Saved:
    """Copy what can be read: the parts in their order, the other tables, what only leaves have.

    `on_progress` is called with the number of rows so far, after each batch, and while SQLite finds
    no further row for long: systemd ends a start that is silent. It ends early when there is no
    space. Blocks while it reads the file. Raises OSError when there is no space for
    what is needed.
    """
    # Invalid text must not stop the reading: `_store` later skips its row.
    damaged.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    tables = {
        str(row[0])
        for row in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not str(row[0]).startswith("sqlite_") and row[0] != "schema_versions"
    }
    named = [part for part in parts if part.table in tables]
    needed = [part for part in named if part.needed]
    rest = sorted(
        tables - {part.table for part in named if part.condition == "true" and not part.keys_from}
    )
    # Tables that are not named are small, such as the state of the chain.
    ordered = [*needed, *map(Part, rest), *(part for part in named if not part.needed)]
    done, all_read = 0, True
    counts: dict[str, int | None] = {}
    for connection in (damaged, target):
        connection.set_progress_handler(lambda: on_progress(done), _STEPS_AT_ONCE)

    def sources() -> Iterator[tuple[Part, Table, Iterator[Row]]]:
        has_damage = False
        for part in ordered:
            try:
                table = Table(damaged, target, part.table)
            except DAMAGE:
                has_damage = True
                continue
            if table.is_complete:
                yield part, table, _rows_of(damaged, target, table, part)
                has_damage |= table.is_damaged
        counts.update(_counts(damaged, target, tables))
        if has_damage or any(count != _stored(target, name) for name, count in counts.items()):
            # Last, what SQL cannot reach: what it has read is newer, or the same.
            names = list(dict.fromkeys(part.table for part in ordered))
            try:
                for table, rows in leaf_rows(damaged, target, names, lambda: on_progress(done)):
                    yield Part(table.name), table, rows
            except Exception as error:  # noqa: BLE001 - what is stored must not be lost by it
                log_exception(logger, "database.table_copy_failed", error, table="all")

    for part, table, rows_of_part in sources():
        try:
            for rows in _in_batches(rows_of_part):
                if not has_space():
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
        except Exception as error:  # noqa: BLE001 - one table must not stop the others
            if target.in_transaction:
                target.execute("ROLLBACK")
            log_exception(logger, "database.table_copy_failed", error, table=part.table)
    with contextlib.suppress(*DAMAGE):
        # The numbers of lost rows are used again, so the stored marks would refer to other rows.
        target.execute("DELETE FROM age_marks")
    counts = counts or _counts(damaged, target, tables)  # not yet counted without space
    copied = {name: _stored(target, name) for name in tables}
    of = [None if count is None else max(count, copied[name]) for name, count in counts.items()]
    total = None if None in of else sum(each or 0 for each in of)
    return Saved(sum(copied.values()), total, all_read)


def _counts(
    damaged: sqlite3.Connection, target: sqlite3.Connection, tables: Iterable[str]
) -> dict[str, int | None]:
    """How many rows each of the tables had; None when that cannot be counted."""
    return {name: count_rows(damaged, name, _stored(target, name)) for name in sorted(tables)}


def _stored(target: sqlite3.Connection, table: str) -> int:
    return int(target.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - its schema


def copy_schema(
    damaged: sqlite3.Connection, target: sqlite3.Connection, migrations: Migrations
) -> None:
    """Make the tables, columns and indexes that only the damaged database has.

    They belong to parts that are disabled, or to a newer version that was in use before; the
    numbers of their migrations are copied with them. When a table of a newer version cannot be
    made, none of these are: that version would not create what is missing.
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
    existing = {row[0] for row in target.execute("SELECT name FROM sqlite_master")}
    target.execute("BEGIN")
    try:
        for name, sql in found:
            if name not in existing and sql.upper().startswith("CREATE TABLE"):
                target.execute(sql)
            elif name not in existing:
                _try_to_make(target, sql)
            elif sql.upper().startswith("CREATE TABLE"):
                _add_columns(damaged, target, name)
        target.executemany("INSERT OR REPLACE INTO schema_versions VALUES (?, ?, ?)", newer)
        target.execute("COMMIT")
    except DAMAGE as error:
        target.execute("ROLLBACK")
        log_event(logger, "database.schema_skipped", logging.WARNING, reason=str(error))


def _try_to_make(target: sqlite3.Connection, sql: str) -> None:
    """Make an index or a trigger, without which the tables are still complete."""
    try:
        target.execute(sql)
    except DAMAGE as error:
        log_event(logger, "database.schema_skipped", logging.WARNING, reason=str(error))


def _add_columns(damaged: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    """Add the columns that a table has only in the damaged database; they have defaults."""
    existing = {row[1] for row in target.execute(f"PRAGMA table_info({table})")}
    for _, name, kind, not_null, default, _ in damaged.execute(f"PRAGMA table_info({table})"):
        if name not in existing:
            rule = " NOT NULL" if not_null else ""
            rule += "" if default is None else f" DEFAULT {default}"
            target.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}{rule}")


def _has_space(folder: Path) -> bool:
    return shutil.disk_usage(folder).free > _MIN_FREE


def _store(target: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> None:
    """Store rows; a row whose values the table does not accept was damaged, and is skipped."""
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
            log_event(logger, "database.row_skipped", table=str(table), reason=str(error))
        else:
            key = [row[index] for index in primary]
            if not stored and not is_stored(target, table, key):
                reason = "another row has the same value in a unique column"
                log_event(logger, "database.row_skipped", table=str(table), reason=reason)
    with _writing():
        target.execute("COMMIT")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Raise OSError when SQLite cannot write to the disk."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _rows_of(
    damaged: sqlite3.Connection, target: sqlite3.Connection, table: Table, part: Part
) -> Iterator[Row]:
    """The rows of a part that can be read."""
    if not part.keys_from:
        yield from readable_rows(damaged, target, table, part.condition)
        return
    columns = ",".join(table.columns)
    query = f"SELECT {columns} FROM {table} WHERE {table.keys[0]} = ?"  # noqa: S608 - its schema
    for (key,) in target.execute(part.keys_from).fetchall():
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
