"""Rows that are read from leaf pages where SQLite has lost the way to them."""

from __future__ import annotations

import itertools
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from infernet_edge.storage import leaf_pages
from infernet_edge.storage.damaged_table import Row
from infernet_edge.storage.leaf_pages import leaf_rows

ROWS = 800
BLOCK = 65536  # bytes that a card erases together
SIZES = (512, 1024, 2048, 4096, 65536)
FORMS = {
    "rowids": "CREATE TABLE items (id BLOB PRIMARY KEY, name TEXT NOT NULL, number INTEGER,"
    " part REAL, content BLOB) STRICT",
    "numbers": "CREATE TABLE items (name TEXT NOT NULL, number INTEGER PRIMARY KEY, id BLOB,"
    " part REAL, content BLOB) STRICT",
    "without": "CREATE TABLE items (name TEXT NOT NULL, number INTEGER, id BLOB, part REAL,"
    " content BLOB, PRIMARY KEY (id, name)) STRICT, WITHOUT ROWID",
}
COLUMNS = "id, name, number, part, content"


def build(path: Path, form: str, size: int, *, vacuum: str = "INCREMENTAL") -> None:
    """A file of about one MiB whose keys grow, as the node's do; each 20th row has 9000 bytes."""
    generator = random.Random(1)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {size}")
    connection.execute(f"PRAGMA auto_vacuum = {vacuum}")
    connection.execute(FORMS[form])
    connection.execute("CREATE INDEX by_name ON items (name)")
    connection.execute(FORMS[form].replace("items", "others"))
    connection.execute("BEGIN")
    for number in range(ROWS):
        length = 9000 if number % 20 == 0 else generator.randrange(600)
        part = None if number % 3 == 0 else number / 2
        key = number.to_bytes(4) + generator.randbytes(12)
        row = (key, f"item {number}", number - 400, part, bytes(length))
        connection.execute(f"INSERT INTO items ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)
        other = (key[:4] + generator.randbytes(12), f"other {number}", number, 0.5, b"x" * 200)
        connection.execute(f"INSERT INTO others ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", other)
    connection.execute("COMMIT")
    connection.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """An intact file of each form and size, made when it is first asked for."""

    class Files(dict[tuple[str, int], Path]):
        def __missing__(self, key: tuple[str, int]) -> Path:
            self[key] = path = tmp_path_factory.mktemp("intact") / "file.sqlite"
            build(path, *key)
            return path

    return Files()


each_file = pytest.mark.parametrize("key", list(itertools.product(FORMS, SIZES)), ids=str)


def select(path: Path, table: str = "items") -> list[Row]:
    connection = sqlite3.connect(path)
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.close()
    return rows


def read(
    path: Path, *names: str, timeout: float = 5.0, like: Path | None = None
) -> dict[str, list[Row]]:
    """The rows of each table that are read from leaves, with a new database that is empty.

    It has the tables of the file `like`, or of the damaged one.
    """
    damaged = sqlite3.connect(path, isolation_level=None, timeout=timeout)
    damaged.execute("PRAGMA writable_schema = ON")
    target = sqlite3.connect(":memory:", isolation_level=None)
    intact = sqlite3.connect(like or path)
    for (sql,) in intact.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchall():
        target.execute(sql)
    intact.close()
    found: dict[str, list[Row]] = {}
    for table, rows in leaf_rows(damaged, target, names or ("items",), lambda: None):
        found[table.name] = list(rows)
    damaged.close()
    target.close()
    return found


def root(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
    number = int(connection.execute(query, (table,)).fetchone()[0])
    connection.close()
    return number


def tree(
    content: bytes | bytearray, size: int, number: int
) -> Iterator[tuple[int, bytes | bytearray]]:
    """The pages of a tree, from its root."""
    page = content[(number - 1) * size : number * size]
    yield number, page
    if page[0] in (2, 5):
        for index in range(int.from_bytes(page[3:5])):
            at = int.from_bytes(page[12 + 2 * index : 14 + 2 * index])
            yield from tree(content, size, int.from_bytes(page[at : at + 4]))
        yield from tree(content, size, int.from_bytes(page[8:12]))


def inner_pages(path: Path, size: int, table: str = "items") -> dict[int, int]:
    """The number of cells of each inner page."""
    pages = tree(path.read_bytes(), size, root(path, table))
    return {number: int.from_bytes(page[3:5]) for number, page in pages if page[0] in (2, 5)}


def zero(path: Path, at: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(min(length, path.stat().st_size - at)))


@each_file
def test_rows_do_not_need_inner_pages(
    files: dict[tuple[str, int], Path], tmp_path: Path, key: tuple[str, int]
) -> None:
    """Of tables without rowids the inner pages have rows of their own, which are lost."""
    form, size = key
    path = Path(shutil.copy(files[key], tmp_path / "damaged.sqlite"))
    inner = inner_pages(path, size)
    assert len(inner) > (3 if size <= 1024 else 0)
    for number in inner:
        zero(path, (number - 1) * size, size)
    lost = sum(inner.values()) if form == "without" else 0
    intact = select(files[key])
    found = read(path)["items"]
    assert len(found) == len(intact) - lost
    assert set(found) <= set(intact)


@each_file
def test_an_intact_file_has_the_same_rows(
    files: dict[tuple[str, int], Path], key: tuple[str, int]
) -> None:
    """Each once, also those of inner pages."""
    found = read(files[key], "items", "others")
    for table in ("items", "others"):
        assert len(found[table]) == ROWS
        assert set(found[table]) == set(select(files[key], table))


@each_file
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_of_a_file_that_is_cut_off_the_rest_is_read(
    files: dict[tuple[str, int], Path], tmp_path: Path, key: tuple[str, int], part: float
) -> None:
    size, content = key[1], files[key].read_bytes()
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(content[: int(len(content) * part)])
    intact, found = set(select(files[key])), read(path, like=files[key]).get("items", [])
    # The roots come first, the last page is not complete, and rows may end in what is lost.
    few = 4 * size / len(content) + 0.04
    assert len(found) >= (part - few) * ROWS
    assert set(found) <= intact


@each_file
def test_of_a_file_with_a_lost_block_the_rest_is_read(
    files: dict[tuple[str, int], Path], tmp_path: Path, key: tuple[str, int]
) -> None:
    """Also where the block had a part of the pointer map."""
    intact = set(select(files[key]))
    length = files[key].stat().st_size
    path = tmp_path / "damaged.sqlite"
    kept = []
    step = max(1, length // BLOCK // 12)
    for at in range(BLOCK, length, BLOCK * step):
        shutil.copy(files[key], path)
        zero(path, at, BLOCK)
        found = read(path, like=files[key]).get("items", [])
        assert set(found) <= intact
        kept.append(len(found) / ROWS)
    assert len(kept) >= 8
    assert sum(kept) / len(kept) >= 1 - 1.6 * BLOCK / length
    assert min(kept) >= 1 - 4 * BLOCK / length


@pytest.mark.parametrize("form", FORMS)
def test_deleted_rows_stay_deleted(tmp_path: Path, form: str) -> None:
    """Free pages still have them."""
    path = tmp_path / "file.sqlite"
    build(path, form, 1024)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("DELETE FROM items WHERE number BETWEEN -360 AND 360")
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    connection.close()
    assert free > 200
    assert b"item 600" in path.read_bytes()
    intact = select(path)
    lost = inner_pages(path, 1024)
    for number in lost:
        zero(path, (number - 1) * 1024, 1024)
    found = read(path)["items"]
    assert len(found) >= len(intact) - sum(lost.values()) > 20
    assert set(found) <= set(intact)


def schema_leaves(content: bytes) -> list[int]:
    """The leaves of the list of the tables, whose root is behind the header of the file."""
    places = [112 + 2 * index for index in range(int.from_bytes(content[103:105]))]
    cells = [int.from_bytes(content[place : place + 2]) for place in places]
    return [int.from_bytes(content[at : at + 4]) for at in (*cells, 108)]


@pytest.mark.parametrize("lost", [slice(0, 1), slice(3, 5), slice(-2, None)])
def test_a_part_of_the_list_of_the_tables_is_enough(tmp_path: Path, lost: slice) -> None:
    """SQLite knows no table after the first damage in it. The log is merged all the same."""
    path, source = tmp_path / "damaged.sqlite", tmp_path / "source.sqlite"
    connection = sqlite3.connect(source, isolation_level=None)
    connection.execute("PRAGMA page_size = 1024")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    names = [f"table{number}" for number in range(100)]
    for name in names:
        connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT) STRICT")
        connection.execute(f"INSERT INTO {name} VALUES (5, 'before')")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for name in names:
        connection.execute(f"UPDATE {name} SET name = '{name}'")
    shutil.copy(source, path)
    shutil.copy(f"{source}-wal", f"{path}-wal")
    connection.close()
    leaves = schema_leaves(source.read_bytes())
    assert len(leaves) > 10
    for number in leaves[lost]:
        zero(path, (number - 1) * 1024, 1024)
    found = read(path, *names, like=source)
    most = 100 * len(leaves[lost]) / len(leaves) + 5
    assert 100 - most <= len(found) < 100
    assert found == {name: [(5, name)] for name in found}


def with_log(path: Path, form: str) -> Path:
    """A file whose rows have another name in the write-ahead log; its inner pages are lost."""
    source = path.with_name("source.sqlite")
    build(source, form, 1024)
    connection = sqlite3.connect(source, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("UPDATE items SET part = -1.5")
    shutil.copy(source, path)
    shutil.copy(f"{source}-wal", f"{path}-wal")
    connection.close()
    before = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
    assert before.execute("SELECT count(*) FROM items WHERE part = -1.5").fetchone() == (0,)
    before.close()
    return path


def test_rows_are_those_of_the_log(tmp_path: Path) -> None:
    path = with_log(tmp_path / "damaged.sqlite", "rowids")
    for number in inner_pages(tmp_path / "source.sqlite", 1024):
        zero(path, (number - 1) * 1024, 1024)
    found = read(path)["items"]
    assert len(found) == ROWS
    assert {row[3] for row in found} == {-1.5}


@pytest.mark.parametrize("form", FORMS)
def test_without_all_of_the_log_nothing_is_read(tmp_path: Path, form: str) -> None:
    """A row of the past could be a job that is not finished."""
    path = with_log(tmp_path / "damaged.sqlite", form)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the log is in use
    assert read(path, timeout=0.1) == {}
    other.execute("COMMIT")
    other.close()
    shutil.copy(tmp_path / "source.sqlite", path)
    assert len(read(path)["items"]) == ROWS


@pytest.mark.parametrize("form", FORMS)
def test_older_rows_have_the_defaults_of_newer_columns(tmp_path: Path, form: str) -> None:
    path = tmp_path / "file.sqlite"
    build(path, form, 1024)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("ALTER TABLE items ADD COLUMN owner TEXT NOT NULL DEFAULT 'it''s me'")
    connection.execute("ALTER TABLE items ADD COLUMN cost INTEGER NOT NULL DEFAULT -5")
    connection.execute("ALTER TABLE items ADD COLUMN reason TEXT")
    connection.execute("UPDATE items SET cost = 7 WHERE number = 3")
    connection.close()
    found = read(path)["items"]
    assert len(found) == ROWS
    assert set(found) == set(select(path))
    assert {row[5:] for row in found} == {("it's me", -5, None), ("it's me", 7, None)}


def test_each_kind_of_value_is_read(tmp_path: Path) -> None:
    """The numbers of each length, their neighbours, and text that is not valid."""
    path = tmp_path / "file.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("CREATE TABLE items (key INTEGER PRIMARY KEY, value ANY) STRICT")
    ends = [2**bits + more for bits in (0, 7, 15, 23, 31, 47, 63) for more in (-1, 0, 1)]
    numbers = [sign * end for end in ends for sign in (1, -1) if -(2**63) <= sign * end < 2**63]
    values = [*numbers, None, "", "ä\0ö", b"", b"\xff", 0.1, -1e300, 2.0, "x" * 200_000]
    keys = sorted({*numbers})
    values += [0] * (len(keys) - len(values))
    connection.executemany("INSERT INTO items VALUES (?, ?)", zip(keys, values, strict=False))
    connection.execute("INSERT INTO items VALUES (1000, CAST(x'6180ff' AS TEXT))")
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    expected = connection.execute("SELECT * FROM items").fetchall()
    connection.close()
    assert sorted(map(repr, read(path)["items"])) == sorted(map(repr, expected))
    assert (1000, "a\udc80\udcff") in read(path)["items"]


def test_a_row_that_the_new_database_has_is_not_read_again(
    files: dict[tuple[str, int], Path],
) -> None:
    path = files["rowids", 1024]
    damaged = sqlite3.connect(path)
    target = sqlite3.connect(":memory:", isolation_level=None)
    target.execute(FORMS["rowids"])
    rows = select(path)
    target.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows[100:])
    found = [row for _, some in leaf_rows(damaged, target, ["items"], lambda: None) for row in some]
    assert set(found) == set(rows[:100])
    damaged.close()
    target.close()


def test_a_row_that_is_too_long_is_left_out(
    files: dict[tuple[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaf_pages, "_MAX_ROW", 5000)
    found = read(files["rowids", 1024])["items"]
    assert set(found) == {row for row in select(files["rowids", 1024]) if len(row[4]) < 5000}


def test_a_file_without_a_pointer_map_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite"
    build(path, "rowids", 1024, vacuum="NONE")
    assert read(path) == {}


def test_progress_is_reported_where_no_row_is_found(
    files: dict[tuple[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start of the service is extended with it."""
    monkeypatch.setattr(leaf_pages, "_PAGES_AT_ONCE", 10)
    path = files["rowids", 512]
    damaged = sqlite3.connect(path)
    target = sqlite3.connect(":memory:", isolation_level=None)
    target.execute(FORMS["rowids"])
    target.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", select(path))
    calls: list[int] = []
    for _, rows in leaf_rows(damaged, target, ["items"], lambda: calls.append(1)):
        assert list(rows) == []
    leaves = [page for _, page in tree(path.read_bytes(), 512, root(path, "items"))]
    assert len(calls) > len(leaves) // 10 + 2 * path.stat().st_size // (512 * 103)
    damaged.close()
    target.close()


def entry(number: int, size: int) -> int:
    """Where the pointer map has a page (https://www.sqlite.org/fileformat2.html, 1.8)."""
    in_each = size // 5
    first = (number - 2) // (in_each + 1) * (in_each + 1) + 2
    return (first - 1) * size + 5 * (number - first - 1)


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_parent_gives_no_rows_to_another_table(
    files: dict[tuple[str, int], Path], tmp_path: Path, form: str
) -> None:
    """Both tables have the same columns, so the rows themselves would be accepted."""
    size = 1024
    source = files[form, size]
    content = bytearray(source.read_bytes())
    others = set(select(source, "others"))
    target = min(inner_pages(source, size, "others"))
    moved = [
        number for number, page in tree(content, size, root(source, "items")) if page[0] in (10, 13)
    ]
    for number in moved[::2]:
        at = entry(number, size)
        assert content[at] == 5
        content[at + 1 : at + 5] = target.to_bytes(4)
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(content)
    found = read(path, "others")["others"]
    assert set(found) == others


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["itself", "another", "free", "end", "lost"])
def test_a_row_with_a_broken_chain_is_left_out(
    files: dict[tuple[str, int], Path], tmp_path: Path, form: str, kind: str
) -> None:
    """Its content must not be that of another row, or of the past."""
    size = 1024
    content = bytearray(files[form, size].read_bytes())
    pages = range(3, len(content) // size + 1)
    firsts = [number for number in pages if content[entry(number, size)] == 3]
    names = [content[(number - 1) * size : (number - 1) * size + 4] for number in firsts]
    chains = [int.from_bytes(name) for name in names if any(name)]  # the second pages
    broken = chains[2:20:5]
    for number, other in zip(broken, chains[20:], strict=False):
        at = (number - 1) * size
        if kind == "itself":
            content[at : at + 4] = number.to_bytes(4)
        elif kind == "another":
            content[at : at + 4] = other.to_bytes(4)
        elif kind == "free":
            content[entry(number, size)] = 2
        elif kind == "end":
            content[at : at + 4] = bytes(4)
        else:
            content[at : at + size] = bytes(size)
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(content)
    intact, found = select(files[form, size]), read(path, like=files[form, size])["items"]
    assert set(found) <= set(intact)
    assert len(found) == len(intact) - len(broken)


def damage(
    content: bytearray, size: int, at: int, generator: random.Random, copied: Sequence[int]
) -> None:
    """One of the kinds of damage, in the page at `at`; one of the `copied` may be put there."""
    kind = generator.randrange(5)
    if kind == 0:
        content[at : at + size] = bytes(size)
    elif kind == 1:
        content[at : at + size] = b"\xff" * size
    elif kind == 2:
        start = at + generator.randrange(size - 8)
        length = generator.randrange(at + size - start)
        content[start : start + length] = generator.randbytes(length)
    elif kind == 3 and copied:
        place = (generator.choice(copied) - 1) * size
        content[at : at + size] = content[place : place + size]
    else:
        for _ in range(generator.randrange(1, 9)):
            content[at + generator.randrange(size)] ^= 1 << generator.randrange(8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(40))
def test_damage_elsewhere_gives_no_wrong_row(
    files: dict[tuple[str, int], Path], tmp_path: Path, form: str, seed: int
) -> None:
    """In the pointer map, in inner pages, in indexes, in free pages.

    Except where several other pages were copied into these: then they agree on what is wrong.
    """
    size = 1024
    source = files[form, size]
    content = bytearray(source.read_bytes())
    rows = {table: set(select(source, table)) for table in ("items", "others")}
    kinds = (10, 13, 2) if form == "without" else (10, 13)
    own = {1}
    for table in rows:
        own |= {n for n, page in tree(content, size, root(source, table)) if page[0] in kinds}
    pages = range(2, len(content) // size + 1)
    own |= {number for number in pages if content[entry(number, size)] in (3, 4)}
    own |= {number for number in pages if content[entry(number, size) :][:5] == b"\5\0\0\0\1"}
    others = [number for number in pages if number not in own]
    maps = [number for number in others if number % 205 == 2]
    assert len(maps) > 2
    generator = random.Random(seed)
    count = generator.choice((1, 5, 40))
    for _ in range(count):
        number = generator.choice(generator.choice((maps, others)))
        damage(content, size, (number - 1) * size, generator, others if count == 1 else ())
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(content)
    for table, found in read(path, "items", "others", like=source).items():
        assert set(found) <= rows[table]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [512, 4096])
def test_no_damage_stops_the_reading(
    files: dict[tuple[str, int], Path], tmp_path: Path, form: str, size: int
) -> None:
    """Anywhere in the file, also many at once and with a part that is cut off."""
    path = tmp_path / "damaged.sqlite"
    generator = random.Random(size)
    most = 0
    for _ in range(50):
        content = bytearray(files[form, size].read_bytes())
        pages = len(content) // size
        for _ in range(generator.choice((1, 10, pages))):
            at = generator.randrange(1, pages) * size
            damage(content, size, at, generator, range(1, pages + 1))
        if generator.randrange(4) == 0:
            del content[generator.randrange(size, len(content)) :]
        path.write_bytes(content)
        begun = time.process_time()
        found = read(path, "items", "others", like=files[form, size])
        for rows in found.values():
            most = max(most, len(rows))
            assert len(rows) < 2 * ROWS + 500
        assert time.process_time() - begun < 5
    assert most > ROWS // 2
