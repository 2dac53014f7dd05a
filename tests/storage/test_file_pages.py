"""To which table each page of a damaged file belongs."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from infernet_edge.storage.file_pages import Pages

SIZES = (512, 1024, 4096, 65536)


@pytest.fixture(params=itertools.product(SIZES, (0, 8)), ids=str)
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file with two tables of each form, and an index; its page size is at offset 16."""
    size, reserved = request.param
    path = tmp_path / "file.sqlite"
    header = sqlite3.connect(path, isolation_level=None)
    header.execute(f"PRAGMA page_size = {size}")
    header.execute("PRAGMA auto_vacuum = INCREMENTAL")
    header.execute("PRAGMA user_version = 1")
    header.close()
    content = bytearray(path.read_bytes())
    content[20] = reserved  # bytes at the end of each page, for extensions
    content[105:107] = ((size - reserved) % 65536).to_bytes(2)  # where the cells begin
    path.write_bytes(content)
    connection = sqlite3.connect(path, isolation_level=None)
    for name in ("one", "two"):
        for form in ("", ", WITHOUT ROWID"):
            table = name + ("keyed" if form else "")
            connection.execute(
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, x TEXT) STRICT{form}"
            )
            connection.execute(f"CREATE INDEX {table}_by_x ON {table} (x)")
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1200)"
                f" INSERT INTO {table} SELECT i, i || '{'x' * 90}' FROM n"
            )
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return path


def size_of(content: bytes | bytearray) -> tuple[int, int]:
    """The size of a page, and what of it is used."""
    size = int.from_bytes(content[16:18])
    size = 65536 if size == 1 else size
    return size, size - content[20]


def roots(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    query = "SELECT name, rootpage FROM sqlite_master WHERE type = 'table'"
    found = dict(connection.execute(query).fetchall())
    connection.close()
    return found


def tree(content: bytes, number: int) -> Iterator[tuple[int, int]]:
    """The pages of a tree from its root, each with its kind."""
    size, _ = size_of(content)
    page = content[(number - 1) * size : number * size]
    yield number, page[0]
    if page[0] in (2, 5):
        for index in range(int.from_bytes(page[3:5])):
            at = int.from_bytes(page[12 + 2 * index : 14 + 2 * index])
            yield from tree(content, int.from_bytes(page[at : at + 4]))
        yield from tree(content, int.from_bytes(page[8:12]))


def owners(path: Path, of: list[int]) -> dict[int, set[int]]:
    """For each number of a table its pages, by what is tested."""
    with path.open("rb") as file:
        found = Pages(file.fileno()).owners(of, lambda: None)
    return {
        number: {at + 1 for at, owner in enumerate(found) if owner == number}
        for number in range(1, len(of) + 1)
    }


def expected(content: bytes, of: list[int]) -> dict[int, set[int]]:
    return {number: {page for page, _ in tree(content, root)} for number, root in enumerate(of, 1)}


def test_all_pages_of_an_intact_file_are_known(file: Path) -> None:
    """Those of the list of tables too, whose root is page 1, and none of an index."""
    of = [1, *roots(file).values()]
    found, wanted = owners(file, of), expected(file.read_bytes(), of[1:])
    assert [found[number + 1] for number in wanted] == list(wanted.values())
    assert 1 in found[1]
    assert not found[1] & set().union(*wanted.values())


def test_what_the_pointer_map_has_lost_is_in_the_pages_above(file: Path) -> None:
    content = bytearray(file.read_bytes())
    size, used = size_of(content)
    of = list(roots(file).values())
    wanted = expected(bytes(content), of)
    for fill in (0, 255):
        for page in range(2, len(content) // size + 1, used // 5 + 1):
            content[(page - 1) * size : page * size] = bytes([fill]) * size
        file.write_bytes(content)
        assert owners(file, of) == wanted


def test_what_inner_pages_have_lost_is_in_the_pointer_map(file: Path) -> None:
    content = bytearray(file.read_bytes())
    size, _ = size_of(content)
    of = list(roots(file).values())
    wanted = expected(bytes(content), of)
    for root in of:
        for page, kind in list(tree(bytes(content), root)):
            if kind in (2, 5):
                content[(page - 1) * size : page * size] = bytes(size)
    file.write_bytes(content)
    assert owners(file, of) == wanted


def test_parents_may_be_behind_the_end_of_a_file_that_was_cut_off(file: Path) -> None:
    content = file.read_bytes()
    size, _ = size_of(content)
    of = list(roots(file).values())
    wanted = expected(content, of)
    for part in (0.3, 0.6):
        pages = int(len(content) // size * part)
        if pages <= max(of):
            continue
        file.write_bytes(content[: pages * size])
        found = owners(file, of)
        for number, each in wanted.items():
            assert {page for page in found[number] if page <= pages} == {
                page for page in each if page <= pages
            }


@pytest.mark.parametrize("number", [0, 1, 2, 2**31, 2**32])
def test_a_page_that_does_not_exist_is_empty(file: Path, number: int) -> None:
    with file.open("rb") as opened:
        pages = Pages(opened.fileno())
        assert pages.entry(number) == (0, 0)
        assert len(pages.read(number)) == (size_of(file.read_bytes())[1] if 0 < number < 3 else 0)


def test_the_lock_page_moves_a_page_of_the_pointer_map(tmp_path: Path) -> None:
    """1.5: the page at 1 GiB is never used. With pages of 1 KiB it would be one of the map."""
    path = tmp_path / "file.sqlite"
    with path.open("w+b") as file:
        header = bytearray(100)
        header[16:18] = (1024).to_bytes(2)
        header[52:56] = (3).to_bytes(4)
        file.write(header)
        file.truncate(2**30 + 2**20)
        moved = 2**30 // 1024 + 2
        os.pwrite(file.fileno(), b"\5\0\0\0\7\4\0\0\0\x09", (moved - 1) * 1024)
        pages = Pages(file.fileno())
        assert pages.entry(moved + 1) == (5, 7)
        assert pages.entry(moved + 2) == (4, 9)
        assert pages.entry(moved - 1) == (0, 0)
        assert pages.entry(moved) == (0, 0)


@pytest.mark.parametrize("seed", range(60))
def test_any_content_is_read(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    content = bytearray(generator.randbytes(40_000))
    if seed % 2:
        content[16:18] = (512 << seed % 9).to_bytes(3)[-2:]
        content[20] = seed % 3
    path = tmp_path / "file.sqlite"
    path.write_bytes(content[: generator.choice((0, 10, 99, 511, 40_000))])
    with path.open("rb") as file:
        pages = Pages(file.fileno())
        found = pages.owners([1, 3, 2**31], lambda: None) if pages.has_pointer_map else b""
        assert len(found) <= 65 * 40_000 // 512
