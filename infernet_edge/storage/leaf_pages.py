"""Reads the rows of tables from the pages of a damaged file, without the way from the root.

SQLite finds a row only through the inner pages of its table: where one is lost, all rows below it
are. But the file names the parent of each page a second time, in its pointer map pages. With them
the table of each page is known, so its rows are read where the page itself is intact. Pages that
are free, or whose table is not certain, are left out: what they have may be rows of the past.

The format is that of https://www.sqlite.org/fileformat2.html; the chapters are those of that page.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from infernet_edge.storage.damaged_table import DAMAGE, Row, Table, is_stored
from infernet_edge.storage.file_pages import (
    INNER_INDEX,
    LEAF_INDEX,
    LEAF_TABLE,
    OVERFLOW,
    OVERFLOW_FIRST,
    Pages,
    cells_of,
    page_kind,
)

_MAX_ROW: Final = 64 * 2**20  # bytes; SQLite allows 1 GiB, but the node's rows are much smaller

_SIZES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # 2.1: of the values of the kinds 0 to 9
_PAGES_AT_ONCE: Final = 1000  # between two calls of `on_progress`


class _BrokenError(Exception):
    """A row is not as the format says."""


class _TableForm(NamedTuple):
    """How the rows of a table are stored, and what is wanted of them."""

    has_rowids: bool
    stored: int  # columns
    places: Sequence[int]  # in the stored row, of each wanted column
    defaults: Sequence[Any]  # of each wanted column, where the row is older than the column
    is_rowid: Sequence[bool]  # of each wanted column: it is stored as the rowid


# 2.6: type, name, tbl_name, rootpage and sql of each table and index; the root is page 1.
_SCHEMA: Final = _TableForm(
    has_rowids=True,
    stored=5,
    places=range(5),
    defaults=(None,) * 5,
    is_rowid=(False,) * 5,
)


def leaf_rows(
    damaged: sqlite3.Connection,
    target: sqlite3.Connection,
    names: Collection[str],
    on_progress: Callable[[], None],
) -> Iterator[tuple[Table, Iterator[Row]]]:
    """For each table those of its rows that the new database does not have yet, in any order.

    The rows of a table have to be read before the next table is asked for. Nothing for a file
    without pointer maps, for a table whose definition is lost, and for one without a primary key,
    of which it is not known what is stored. `on_progress` is called regularly, also where no row is
    found. Only one row and some pages are in the memory, and a byte for each page. Blocks.
    Raises sqlite3.Error only for the new database.
    """
    path = _complete_file(damaged)
    if path is None:
        return
    schema = sqlite3.connect(":memory:", isolation_level=None)
    # Closing the file ends SQLite's locks on it (POSIX), but no other process uses a damaged file.
    with contextlib.closing(schema), contextlib.suppress(OSError), path.open("rb") as file:
        pages = Pages(file.fileno())
        if not pages.has_pointer_map:
            return
        roots = _read_schema(pages, schema, on_progress)
        tables = [Table(schema, target, name) for name in names if name in roots]
        forms = {
            table: form
            for table in tables
            if table.is_complete and table.primary and (form := _form_of(schema, target, table))
        }
        owners = pages.owners([roots[table.name] for table in forms], on_progress)
        for number, (table, form) in enumerate(forms.items(), 1):
            rows = _rows(pages, owners, number, form, on_progress)
            yield table, _not_stored(target, table, rows)


def _complete_file(damaged: sqlite3.Connection) -> Path | None:
    """The database's file, with all that is in its write-ahead log; None where that fails.

    SQLite reads the newest version of a page, and that may be in the log. Without it the file has
    rows of the past: a job that has ended would be unfinished in them, and would run again.
    """
    with contextlib.suppress(*DAMAGE):
        damaged.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with contextlib.suppress(*DAMAGE, OSError, ValueError):
        (name,) = [str(row[2]) for row in damaged.execute("PRAGMA database_list") if row[0] == 0]
        log = Path(f"{name}-wal")
        return Path(name) if name and (not log.exists() or log.stat().st_size == 0) else None
    return None


def _read_schema(
    pages: Pages, schema: sqlite3.Connection, on_progress: Callable[[], None]
) -> dict[str, int]:
    """Make the empty tables of the file in `schema`; returns their root pages.

    SQLite reads no table that comes after damage in this list.
    """
    found = list(_rows(pages, pages.owners([1], on_progress), 1, _SCHEMA, on_progress))
    uses = Counter(root for _, _, _, root, _ in found if root != 0)
    roots = {}
    for kind, name, _, root, sql in found:
        if kind != "table" or not isinstance(root, int) or uses[root] > 1:
            continue
        # The statement may be damaged too; ValueError for a zero in it.
        with contextlib.suppress(*DAMAGE, ValueError):
            if str(sql).upper().startswith("CREATE TABLE"):
                schema.execute(str(sql))
                roots[name] = root
    return roots


def _form_of(
    schema: sqlite3.Connection, target: sqlite3.Connection, table: Table
) -> _TableForm | None:
    """2.3 and 2.4: the columns as they are stored; None when that is not known."""
    try:
        columns = schema.execute(f"PRAGMA table_xinfo({table})").fetchall()
        wanted = {row[1]: row[4] for row in target.execute(f"PRAGMA table_info({table})")}
        defaults = [
            target.execute(f"SELECT {wanted[name] or 'NULL'}").fetchone()[0]
            for name in table.columns
        ]
    except DAMAGE:
        return None
    if any(row[6] for row in columns):
        return None  # computed columns, which the node does not use: some are not stored
    primary = [row[1] for row in sorted(columns, key=lambda row: int(row[5])) if row[5]]
    names = [row[1] for row in columns]
    has_rowids = table.keys == ["rowid"]
    if not has_rowids:
        names = primary + [name for name in names if name not in primary]
    types = {row[1]: str(row[2]).upper() for row in columns}
    alias = primary[0] if has_rowids and [types[name] for name in primary] == ["INTEGER"] else None
    return _TableForm(
        has_rowids,
        len(names),
        [names.index(name) for name in table.columns],
        defaults,
        [name == alias for name in table.columns],
    )


def _not_stored(target: sqlite3.Connection, table: Table, rows: Iterator[Row]) -> Iterator[Row]:
    primary = [table.columns.index(key) for key in table.primary]
    for row in rows:
        if not is_stored(target, table, [row[index] for index in primary]):
            yield row


def _rows(
    pages: Pages, owners: bytearray, number: int, form: _TableForm, on_progress: Callable[[], None]
) -> Iterator[Row]:
    """The rows of all pages that have this number of a table."""
    kinds = (LEAF_TABLE,) if form.has_rowids else (LEAF_INDEX, INNER_INDEX)
    at = owners.find(number)
    seen = 0
    while at >= 0:
        page = pages.read(at + 1)
        if page_kind(page) in kinds:
            yield from _rows_of_page(pages, at + 1, page, form)
        seen += 1
        if seen % _PAGES_AT_ONCE == 0:
            on_progress()
        at = owners.find(number, at + 1)


def _rows_of_page(pages: Pages, number: int, page: bytes, form: _TableForm) -> Iterator[Row]:
    chains: set[int] = set()  # a chain is read once, though damage may name it in many cells
    for at in sorted(set(cells_of(page))):
        try:
            yield _row(pages, number, page, at, form, chains)
        except (_BrokenError, IndexError):
            continue


def _row(
    pages: Pages, number: int, page: bytes, at: int, form: _TableForm, chains: set[int]
) -> Row:
    """The row of a cell; raises _BrokenError and IndexError."""
    if page[0] == INNER_INDEX:
        at += 4  # the page below
    size, at = _varint(page, at)
    rowid = 0
    if form.has_rowids:
        rowid, at = _varint(page, at)
        rowid -= 2**64 if rowid >= 2**63 else 0
    values = _values(_payload(pages, number, page, at, size, chains), form.stored)
    return tuple(
        (
            default
            if place >= len(values)
            else rowid
            if is_rowid and values[place] is None
            else values[place]
        )
        for place, default, is_rowid in zip(form.places, form.defaults, form.is_rowid, strict=True)
    )


def _payload(pages: Pages, number: int, page: bytes, at: int, size: int, chains: set[int]) -> bytes:
    """1.6 and 1.7: the bytes of a row, of which the last ones may be in overflow pages."""
    if size > _MAX_ROW:
        raise _BrokenError
    usable = len(page)
    least = (usable - 12) * 32 // 255 - 23
    most = usable - 35 if page[0] == LEAF_TABLE else (usable - 12) * 64 // 255 - 23
    here = size
    if size > most:
        here = least + (size - least) % (usable - 4)
        here = least if here > most else here
    if at + here > usable:
        raise _BrokenError
    if here == size:
        return page[at : at + size]
    following = int.from_bytes(page[at + here : at + here + 4])
    if following in chains:
        raise _BrokenError
    chains.add(following)
    payload = bytearray(page[at : at + here])
    kind = OVERFLOW_FIRST
    while len(payload) < size:
        # The map names the page before, so a chain has no loops, and no part of another one.
        if pages.entry(following) != (kind, number):
            raise _BrokenError
        content = pages.read(following)
        if not content:
            raise _BrokenError
        payload += content[4 : 4 + size - len(payload)]
        number, following, kind = following, int.from_bytes(content[:4]), OVERFLOW
    return bytes(payload)


def _values(payload: bytes, columns: int) -> list[Any]:
    """2.1: the values of a record; fewer than `columns` in a row that is older than some."""
    header, at = _varint(payload, 0)
    if not at <= header <= len(payload):
        raise _BrokenError
    values: list[Any] = []
    body = header
    while at < header:
        if len(values) == columns:
            raise _BrokenError
        kind, at = _varint(payload, at)
        if kind >= 12:
            size = (kind - 12) // 2
            raw = payload[body : body + size]
            values.append(raw.decode("utf-8", "surrogateescape") if kind % 2 else raw)
        elif kind in (10, 11):
            raise _BrokenError
        else:
            size = _SIZES[kind]
            raw = payload[body : body + size]
            if kind == 7:
                if len(raw) < size:
                    raise _BrokenError
                values.append(struct.unpack(">d", raw)[0])
            elif kind == 0:
                values.append(None)
            else:
                values.append(int.from_bytes(raw, signed=True) if size else kind - 8)
        body += size
    if at != header or body != len(payload):  # SQLite writes not a byte more or less
        raise _BrokenError
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """1.6: an integer of up to 9 bytes, and where the next value begins; raises IndexError."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    for place in range(at + 1, at + 8):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9
