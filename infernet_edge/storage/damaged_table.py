"""Reads the rows of a damaged table that can still be read.

SQLite stops reading at a damaged page. Reading resumes after it: from the next key that can be
read, backwards from the end, and with the keys that are in indexes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

Row = tuple[Any, ...]

# What reading damaged pages raises; UnicodeError when SQLite's message quotes invalid text.
DAMAGE: Final = (sqlite3.DatabaseError, UnicodeError)
_MAX_JUMPS = 10_000  # over damaged pages of one table
_KEY_BYTES: Final = 16  # of a key that is text or bytes: a search compares only these
_MAX_KEY: Final = 2 ** (8 * _KEY_BYTES)


class Table:
    """A table of both databases: the columns that they share, and those of its key."""

    def __init__(self, damaged: sqlite3.Connection, target: sqlite3.Connection, name: str) -> None:
        self.name = name
        damaged_columns = [row[1] for row in damaged.execute(f"PRAGMA table_info({name})")]
        info = target.execute(f"PRAGMA table_info({name})").fetchall()
        self.columns = [row[1] for row in info if row[1] in damaged_columns]
        self.primary = [column for _, column in sorted((row[5], row[1]) for row in info if row[5])]
        # What the rows are sorted by. In another order SQLite would read all pages before the first
        # row, and so return none where one page is damaged.
        self.keys = ["rowid"] if _has_rowids(damaged, name) else self.primary
        self.is_complete = set(self.primary) <= set(damaged_columns)
        self.is_damaged = False
        """Whether a reading of its rows has found damage."""

    def __str__(self) -> str:
        return self.name


def _has_rowids(damaged: sqlite3.Connection, name: str) -> bool:
    """Whether the damaged table has rowids, which the new one need not have.

    Preparing a query reads the definition of the table only.
    """
    try:
        damaged.execute(f"SELECT rowid FROM {name} LIMIT 0")  # noqa: S608 - its schema
    except sqlite3.OperationalError:
        return False
    return True


def readable_rows(
    damaged: sqlite3.Connection, target: sqlite3.Connection, table: Table, condition: str
) -> Iterator[Row]:
    """The rows that can be read, in any order; some of them twice where there is damage."""
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
    except DAMAGE:
        table.is_damaged = True
    yield from _after_damage(damaged, select, table, last)
    primary = [table.columns.index(key) + 1 for key in table.primary]
    backwards = f"{select} ORDER BY {','.join(f'{key} DESC' for key in table.keys)}"
    with contextlib.suppress(*DAMAGE):
        for row in damaged.execute(backwards):
            if primary and is_stored(target, table, [row[index] for index in primary]):
                break
            yield row[1:]
    yield from _by_indexes(damaged, target, table, select)


def _after_damage(
    damaged: sqlite3.Connection, select: str, table: Table, last: Any
) -> Iterator[Row]:
    """Resume after the last row that was read, and after each further damaged page."""
    sample = last if last is not None else _any_key(damaged, table)
    if sample is None:
        return
    first = table.keys[0]
    onwards = f"{select} AND {first} >= ? ORDER BY {','.join(table.keys)}"
    at, step = _to_number(last) if last is not None else -1, 1
    for _ in range(_MAX_JUMPS):
        start = _next_readable(damaged, onwards, at, step, sample)
        if start is None:
            return
        at, step = start, step * 2  # where this jump finds no row, the next one is wider
        try:
            for row in damaged.execute(onwards, (_from_number(start, sample),)):
                number = _to_number(row[0])
                if number < start:
                    break  # a wrong page is in the tree: its rows would come again after each jump
                at, step = max(at, number), 1
                yield row[1:]
            else:
                return
        except DAMAGE:
            continue


def _next_readable(
    damaged: sqlite3.Connection, onwards: str, at: int, step: int, sample: Any
) -> int | None:
    """A number above `at` from which a row can be read, the lowest if `step` is 1; else None."""
    limited = f"{onwards} LIMIT 1"

    def readable(number: int) -> bool:
        try:
            row = damaged.execute(limited, (_from_number(number, sample),)).fetchone()
            return row is not None and _to_number(row[0]) >= number
        except DAMAGE:
            return False

    farthest = 2**62 if isinstance(sample, int) else _MAX_KEY - 1
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
    damaged: sqlite3.Connection, target: sqlite3.Connection, table: Table, select: str
) -> Iterator[Row]:
    """Rows whose keys are in an index, one by one."""
    keys = ",".join(table.keys)
    one = f"{select} AND {' AND '.join(f'{key} = ?' for key in table.keys)}"
    for name in _indexes(damaged, table):
        for order in ("", " DESC"):
            try:
                columns = _columns_of(damaged, name)
                # Rows that are stored need not be read: mostly these are all but a few.
                entry_columns = [*columns, *table.keys]
                is_known = set(table.primary) <= set(entry_columns)
                primary = [entry_columns.index(key) for key in table.primary if is_known]
                scan = f"SELECT {','.join(columns)}, {keys} FROM {table} INDEXED BY {name}"  # noqa: S608 - its schema
                entries = damaged.execute(f"{scan} ORDER BY {columns[0]}{order}")
                for entry in _in_order(entries, is_falling=bool(order)):
                    if primary and is_stored(target, table, [entry[at] for at in primary]):
                        continue
                    key = entry[len(columns) :]
                    with contextlib.suppress(*DAMAGE):
                        yield from (row[1:] for row in damaged.execute(one, key).fetchall())
            except DAMAGE:
                continue


def _indexes(damaged: sqlite3.Connection, table: Table) -> list[str]:
    """The indexes that have all rows of a table."""
    try:
        rows = damaged.execute(f"PRAGMA index_list({table})").fetchall()
    except DAMAGE:
        return []
    return [str(row[1]) for row in rows if not row[4] and row[3] != "pk"]


def _columns_of(damaged: sqlite3.Connection, index: str) -> list[str]:
    return [str(row[2]) for row in damaged.execute(f"PRAGMA index_info({index})").fetchall()]


def _in_order(rows: Iterator[Row], *, is_falling: bool) -> Iterator[Row]:
    """The rows up to one that is not in the order of an index.

    A wrong page in it, such as a copy of one above, gives the same rows again, and again below.
    """
    last: list[Any] = []
    for row in rows:
        key = [_to_sort(value) for value in row]
        if last and (key >= last if is_falling else key <= last):
            return
        last = key
        yield row


def _to_sort(value: Any) -> tuple[int, Any]:
    """What sorts as SQLite sorts values (https://www.sqlite.org/datatype3.html, 4.1)."""
    if value is None:
        return 0, 0
    if isinstance(value, str):
        return 2, value.encode("utf-8", "surrogateescape")
    return (3, value) if isinstance(value, bytes) else (1, value)


def _any_key(damaged: sqlite3.Connection, table: Table) -> Any:
    """Any key of the table that can be read; None when there is none."""
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
        except DAMAGE:
            continue
    return None


def is_stored(target: sqlite3.Connection, table: Table, key: Sequence[Any]) -> bool:
    """Whether the new database has a row with this primary key."""
    where = " AND ".join(f"{column} = ?" for column in table.primary)
    query = f"SELECT 1 FROM {table} WHERE {where}"  # noqa: S608 - its schema
    with contextlib.suppress(*DAMAGE):  # a key that is not valid text is not stored
        return target.execute(query, key).fetchone() is not None
    return False


def count_rows(damaged: sqlite3.Connection, table: str, copied: int) -> int | None:
    """How many rows there were, counted by what can still be read; None when nothing can."""
    counts = []
    names = [" NOT INDEXED"]
    with contextlib.suppress(*DAMAGE):
        indexes = damaged.execute(f"PRAGMA index_list({table})").fetchall()
        names += [f" INDEXED BY {row[1]}" for row in indexes if not row[4] and row[3] != "pk"]
        if not damaged.execute(f"PRAGMA table_info({table})").fetchall():
            return copied  # the damaged file has no such table
    for source in names:
        with contextlib.suppress(*DAMAGE):
            query = f"SELECT count(*) FROM {table}{source}"  # noqa: S608 - its schema
            counts.append(int(damaged.execute(query).fetchone()[0]))
    return max([*counts, copied]) if counts else None


def _to_number(key: Any) -> int:
    """The position of a key among all possible keys of its type."""
    if isinstance(key, int):
        return key
    if not isinstance(key, str | bytes):
        return 0  # a key of another type is damaged
    raw = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else bytes(key)
    return int.from_bytes(raw[:_KEY_BYTES].ljust(_KEY_BYTES, b"\0"))


def _from_number(number: int, sample: Any) -> Any:
    if isinstance(sample, int):
        return number
    raw = max(0, number).to_bytes(_KEY_BYTES)
    if isinstance(sample, str):
        return raw.rstrip(b"\0").decode("latin-1")
    return raw
