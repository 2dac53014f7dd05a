"""Copies the rows of a damaged database that can still be read into a new one.

Where a page is damaged, SQLite reads no further. So the copy goes on behind it: with the next key
from which it can read again, backwards from the end, and with the keys that stand in indexes.
Running it again is harmless, so that one that was interrupted begins anew.
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
from typing import Any, Final, NamedTuple

from infernet_edge.logs import log_event
from infernet_edge.storage.migrations import Migrations, migrate, versions_of

logger = logging.getLogger(__name__)

Row = tuple[Any, ...]

_AT_ONCE = 500  # rows in one transaction
_BYTES_AT_ONCE = 4 * 2**20  # about; no more of them are begun
_LEAST_FREE = 16 * 2**20  # bytes, for the transaction and for the node's first writes
# What reading damaged pages raises; SQLite's message may hold text that is none.
_DAMAGED = (sqlite3.DatabaseError, UnicodeError)
_MOST_JUMPS = 10_000  # over damaged places of one table
_KEY_BYTES: Final = 16  # of a key that is text or bytes, so many tell how far a search has come
_FARTHEST: Final = 2 ** (8 * _KEY_BYTES)


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


class _Table:
    """A table of both databases: the columns that they share, and those of its key."""

    def __init__(self, damaged: sqlite3.Connection, target: sqlite3.Connection, name: str) -> None:
        self.name = name
        there = [row[1] for row in damaged.execute(f"PRAGMA table_info({name})")]
        here = target.execute(f"PRAGMA table_info({name})").fetchall()
        self.columns = [row[1] for row in here if row[1] in there]
        self.primary = [column for _, column in sorted((row[5], row[1]) for row in here if row[5])]
        (sql,) = target.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        # What the rows are sorted by: reading them in another order would take all pages at once.
        self.keys = self.primary if "WITHOUT ROWID" in sql.upper() else ["rowid"]
        self.is_complete = set(self.primary) <= set(there)

    def __str__(self) -> str:
        return self.name


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
        with contextlib.suppress(*_DAMAGED):
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
            table = _Table(damaged, target, part.table)
        except _DAMAGED:
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
    with contextlib.suppress(*_DAMAGED):
        # Numbers of rows that are lost are given again: what was noted of them is not about those.
        target.execute("DELETE FROM age_marks")
    copied, counts = 0, []
    for name in sorted(tables):
        here = int(target.execute(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608 - its schema
        copied += here
        counts.append(_count(damaged, name, here))
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
    except _DAMAGED:
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
    except _DAMAGED as error:
        target.execute("ROLLBACK")
        log_event(logger, "database.schema_unsaved", logging.WARNING, reason=str(error))


def _try_to_make(target: sqlite3.Connection, sql: str) -> None:
    """Make an index or a trigger, without which the tables are whole all the same."""
    try:
        target.execute(sql)
    except _DAMAGED as error:
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
    return shutil.disk_usage(folder).free > _LEAST_FREE


def _store(target: sqlite3.Connection, table: _Table, rows: Sequence[Row]) -> None:
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
            if not stored and not _is_stored(target, table, key):
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
    damaged: sqlite3.Connection, target: sqlite3.Connection, table: _Table, part: Part
) -> Iterator[Row]:
    """The rows of a part that can be read."""
    if not part.of:
        yield from _readable(damaged, target, table, part.condition)
        return
    columns = ",".join(table.columns)
    query = f"SELECT {columns} FROM {table} WHERE {table.keys[0]} = ?"  # noqa: S608 - its schema
    for (key,) in target.execute(part.of).fetchall():
        with contextlib.suppress(*_DAMAGED):
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


def _readable(
    damaged: sqlite3.Connection, target: sqlite3.Connection, table: _Table, condition: str
) -> Iterator[Row]:
    """The rows that can be read, in whatever order; some of them twice where there is damage."""
    columns = ",".join(table.columns)
    keys = ",".join(table.keys)
    first = table.keys[0]
    select = f"SELECT {first}, {columns} FROM {table} NOT INDEXED WHERE ({condition})"  # noqa: S608 - its schema
    last: Any = None
    try:
        for row in damaged.execute(f"{select} ORDER BY {keys}"):
            last = row[0]
            yield row[1:]
        return
    except _DAMAGED:
        pass
    yield from _behind_damage(damaged, select, table, last)
    primary = [table.columns.index(key) + 1 for key in table.primary]
    backwards = f"{select} ORDER BY {','.join(f'{key} DESC' for key in table.keys)}"
    with contextlib.suppress(*_DAMAGED):
        for row in damaged.execute(backwards):
            if primary and _is_stored(target, table, [row[place] for place in primary]):
                break
            yield row[1:]
    yield from _by_indexes(damaged, target, table, select)


def _behind_damage(
    damaged: sqlite3.Connection, select: str, table: _Table, last: Any
) -> Iterator[Row]:
    """Go on behind the last row that was read, and behind each further damage."""
    sample = last if last is not None else _any_key(damaged, table)
    if sample is None:
        return
    first = table.keys[0]
    onwards = f"{select} AND {first} >= ? ORDER BY {','.join(table.keys)}"
    at, step = _to_number(last) if last is not None else -1, 1
    for _ in range(_MOST_JUMPS):
        start = _next_readable(damaged, onwards, at, step, sample)
        if start is None:
            return
        at, step = start, step * 2  # where nothing comes of it, the next jump is wider
        try:
            for row in damaged.execute(onwards, (_from_number(start, sample),)):
                at, step = max(at, _to_number(row[0])), 1
                yield row[1:]
            return
        except _DAMAGED:
            continue


def _next_readable(
    damaged: sqlite3.Connection, onwards: str, at: int, step: int, sample: Any
) -> int | None:
    """A number behind `at` from which a row can be read, the least if `step` is 1; None: none."""
    limited = f"{onwards} LIMIT 1"

    def readable(number: int) -> bool:
        try:
            return damaged.execute(limited, (_from_number(number, sample),)).fetchone() is not None
        except _DAMAGED:
            return False

    farthest = 2**62 if isinstance(sample, int) else _FARTHEST - 1
    low = at
    while low + step < farthest and not readable(low + step):
        low, step = low + step, step * 2
    high = low + step
    if high >= farthest:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if readable(middle):
            high = middle
        else:
            low = middle
    return high


def _by_indexes(
    damaged: sqlite3.Connection, target: sqlite3.Connection, table: _Table, select: str
) -> Iterator[Row]:
    """Rows whose keys stand in an index, one by one."""
    keys = ",".join(table.keys)
    one = f"{select} AND {' AND '.join(f'{key} = ?' for key in table.keys)}"
    for name in _indexes(damaged, table):
        for order in ("", " DESC"):
            scan = f"SELECT {keys} FROM {table} INDEXED BY {name}"  # noqa: S608 - its schema
            leading = _first_column(damaged, name)
            try:
                for key in damaged.execute(f"{scan} ORDER BY {leading}{order}"):
                    if table.keys == table.primary and _is_stored(target, table, key):
                        continue
                    with contextlib.suppress(*_DAMAGED):
                        yield from (row[1:] for row in damaged.execute(one, key).fetchall())
            except _DAMAGED:
                continue


def _indexes(damaged: sqlite3.Connection, table: _Table) -> list[str]:
    """The indexes that have all rows of a table."""
    try:
        rows = damaged.execute(f"PRAGMA index_list({table})").fetchall()
    except _DAMAGED:
        return []
    return [str(row[1]) for row in rows if not row[4] and row[3] != "pk"]


def _first_column(damaged: sqlite3.Connection, index: str) -> str:
    (row, *_) = damaged.execute(f"PRAGMA index_info({index})").fetchall()
    return str(row[2])


def _any_key(damaged: sqlite3.Connection, table: _Table) -> Any:
    """A key of the table, from wherever one can be read; None when there is none."""
    first = table.keys[0]
    for query in (
        f"SELECT {first} FROM {table} NOT INDEXED ORDER BY {first} DESC LIMIT 1",  # noqa: S608 - its schema
        *(
            f"SELECT {first} FROM {table} INDEXED BY {name} LIMIT 1"  # noqa: S608 - its schema
            for name in _indexes(damaged, table)
        ),
    ):
        try:
            if (row := damaged.execute(query).fetchone()) is not None:
                return row[0]
        except _DAMAGED:
            continue
    return None


def _is_stored(target: sqlite3.Connection, table: _Table, key: Sequence[Any]) -> bool:
    where = " AND ".join(f"{column} = ?" for column in table.primary)
    query = f"SELECT 1 FROM {table} WHERE {where}"  # noqa: S608 - its schema
    with contextlib.suppress(*_DAMAGED):  # a key with text that is none is not there
        return target.execute(query, key).fetchone() is not None
    return False


def _count(damaged: sqlite3.Connection, table: str, copied: int) -> int | None:
    """How many rows there were, by whatever of the table can still be counted; else None."""
    counts = []
    names = [" NOT INDEXED"]
    with contextlib.suppress(*_DAMAGED):
        indexes = damaged.execute(f"PRAGMA index_list({table})").fetchall()
        names += [f" INDEXED BY {row[1]}" for row in indexes if not row[4] and row[3] != "pk"]
        if not damaged.execute(f"PRAGMA table_info({table})").fetchall():
            return copied  # it had no such table
    for how in names:
        with contextlib.suppress(*_DAMAGED):
            query = f"SELECT count(*) FROM {table}{how}"  # noqa: S608 - its schema
            counts.append(int(damaged.execute(query).fetchone()[0]))
    return max([*counts, copied]) if counts else None


def _to_number(key: Any) -> int:
    """How far a key stands, among all keys of its kind."""
    if isinstance(key, int):
        return key
    if not isinstance(key, str | bytes):
        return 0  # a key of another kind is damaged
    raw = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else bytes(key)
    return int.from_bytes(raw[:_KEY_BYTES].ljust(_KEY_BYTES, b"\0"))


def _from_number(number: int, sample: Any) -> Any:
    if isinstance(sample, int):
        return number
    raw = max(0, number).to_bytes(_KEY_BYTES)
    if isinstance(sample, str):
        return raw.rstrip(b"\0").decode("latin-1")
    return raw
