"""Rows that SQL reads from a table whose pages are linked in a wrong way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from infernet_edge.storage.damaged_table import Row, Table, readable_rows

PAGE = 512
ROWS = 3000
TABLE = "CREATE TABLE items (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in which the trees of a table and of its index have three levels."""
    path = tmp_path / "file.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {PAGE}")
    connection.execute(TABLE)
    connection.execute("CREATE INDEX by_name ON items (name)")
    rows = [(number, f"{number * 7 % ROWS:020}") for number in range(ROWS)]
    connection.executemany("INSERT INTO items VALUES (?, ?)", rows)
    connection.close()
    return path


def read(path: Path) -> list[Row]:
    damaged = sqlite3.connect(path, isolation_level=None)
    target = sqlite3.connect(":memory:", isolation_level=None)
    target.execute(TABLE)
    found = []
    for row in readable_rows(damaged, target, Table(damaged, target, "items"), "true"):
        found.append(row)
        assert len(found) < 100 * ROWS, "the same rows come again and again"
    damaged.close()
    target.close()
    return found


def inner(content: bytes | bytearray, number: int) -> Iterator[tuple[int, list[int]]]:
    """The inner pages of a tree; where the number of each page below is in the file."""
    page = content[(number - 1) * PAGE : number * PAGE]
    if page[0] not in (2, 5):
        return
    cells = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n]) for n in range(page[4])]
    places = [(number - 1) * PAGE + at for at in (*cells, 8)]
    yield number, places
    for place in places:
        yield from inner(content, int.from_bytes(content[place : place + 4]))


def root(path: Path, name: str) -> int:
    connection = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
    number = int(connection.execute(query, (name,)).fetchone()[0])
    connection.close()
    return number


def test_an_index_that_gives_rows_again_is_left(path: Path) -> None:
    content = bytearray(path.read_bytes())
    pages = list(inner(content, root(path, "by_name")))
    assert len(pages) > 2
    for _, places in pages:  # all ways lead to the same page
        for place in places[1:]:
            content[place : place + 4] = content[places[0] : places[0] + 4]
    _, places = list(inner(content, root(path, "items")))[1]
    leaf = int.from_bytes(content[places[0] : places[0] + 4]) - 1
    content[leaf * PAGE : (leaf + 1) * PAGE] = bytes(PAGE)
    path.write_bytes(content)
    found = read(path)
    assert len(set(found)) > 0.95 * ROWS
    assert len(found) < 3 * ROWS


def test_a_page_that_is_below_itself_is_left(path: Path) -> None:
    """As after a write to a wrong place: a search there finds rows that were not asked for."""
    content = bytearray(path.read_bytes())
    number, places = next(inner(content, root(path, "items")))
    place = places[-1]
    below = int.from_bytes(content[place : place + 4]) - 1
    content[below * PAGE : (below + 1) * PAGE] = content[(number - 1) * PAGE : number * PAGE]
    path.write_bytes(content)
    found = read(path)
    assert len(set(found)) > 0.6 * ROWS
    assert len(found) < 15 * ROWS


def test_rows_that_are_stored_are_not_read_again(tmp_path: Path) -> None:
    # A table with rowids and another primary key, which its index has too, as that of the jobs.
    definition = "CREATE TABLE items (id BLOB PRIMARY KEY, name TEXT NOT NULL) STRICT"
    damaged = sqlite3.connect(tmp_path / "file.sqlite", isolation_level=None)
    damaged.execute(f"PRAGMA page_size = {PAGE}")
    damaged.execute(definition)
    damaged.execute("CREATE INDEX by_name ON items (name, id)")
    rows = [(number.to_bytes(4), f"{number * 7 % ROWS:020}") for number in range(ROWS)]
    damaged.executemany("INSERT INTO items VALUES (?, ?)", rows)
    (found,) = damaged.execute(
        "SELECT max(pageno) FROM dbstat WHERE name = 'items' AND pagetype = 'leaf'"
        " AND pageno < (SELECT max(pageno) / 2 FROM dbstat)"
    ).fetchone()
    damaged.close()
    with (tmp_path / "file.sqlite").open("r+b") as file:
        file.seek((found - 1) * PAGE)
        file.write(bytes(PAGE))
    damaged = sqlite3.connect(tmp_path / "file.sqlite", isolation_level=None)
    target = sqlite3.connect(":memory:", isolation_level=None)
    target.execute(definition)
    read = 0
    for row in readable_rows(damaged, target, Table(damaged, target, "items"), "true"):
        target.execute("INSERT OR IGNORE INTO items VALUES (?, ?)", row)
        read += 1
    (stored,) = target.execute("SELECT count(*) FROM items").fetchone()
    assert ROWS - 30 < stored < ROWS
    assert read <= stored + 1
    damaged.close()
    target.close()
