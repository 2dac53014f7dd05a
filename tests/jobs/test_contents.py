"""Contents in pieces."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from infernet_edge.jobs import contents, table
from infernet_edge.jobs.contents import PIECE, Content

KEY = b"k" * 16
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7]


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    for step in table.MIGRATIONS:
        opened.execute(step)
    yield opened
    opened.close()


def text(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def whole(connection: sqlite3.Connection, content: Content) -> bytes:
    found = b""
    while piece := contents.read(connection, content, len(found)):
        assert len(piece) <= (PIECE if content.part >= 0 else 16 * PIECE)
        found += piece
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("parts", [1, 2, 1000])
def test_what_is_written_is_read(connection: sqlite3.Connection, size: int, parts: int) -> None:
    expected = text(size)
    step = max(1, -(-size // parts))
    cut = [expected[start : start + step] for start in range(0, size, step)]
    assert contents.write(connection, KEY, 3, cut) == size
    assert b"".join(contents.texts(connection, KEY, 3)) == expected
    assert contents.sizes(connection, KEY) == {3: size}
    assert whole(connection, Content(KEY, 3, size)) == expected
    lengths = [len(piece) for piece in contents.texts(connection, KEY, 3)]
    assert all(length == PIECE for length in lengths[:-1])


def test_a_part_of_a_content(connection: sqlite3.Connection) -> None:
    """As a container's output stands in a ContainerOutput."""
    expected = text(2 * PIECE + 10)
    contents.write(connection, KEY, 3, [expected])
    for start in (0, 1, 20, PIECE - 1, PIECE, PIECE + 5):
        for less in (0, 1, PIECE):
            size = len(expected) - start - less
            assert whole(connection, Content(KEY, 3, size, start)) == expected[start:][:size]


def test_a_content_that_is_written_again_is_replaced(connection: sqlite3.Connection) -> None:
    contents.write(connection, KEY, 3, [text(3 * PIECE)])
    contents.write(connection, KEY, 3, [b"short"])
    assert b"".join(contents.texts(connection, KEY, 3)) == b"short"


def test_the_first_pieces_alone(connection: sqlite3.Connection) -> None:
    contents.write(connection, KEY, 2, [text(3 * PIECE)])
    assert b"".join(contents.texts(connection, KEY, 2, 2)) == text(2 * PIECE)
    assert list(contents.texts(connection, KEY, 2, 0)) == []


def test_what_is_gone_is_empty(connection: sqlite3.Connection) -> None:
    assert contents.read(connection, Content(KEY, 3, 10), 0) == b""
    assert contents.read(connection, Content(KEY, contents.RESULT_COLUMN, 10), 0) == b""


@pytest.mark.parametrize("part", [-1, -2, -3])
def test_what_an_earlier_version_stored_in_the_row(
    connection: sqlite3.Connection, part: int
) -> None:
    expected = text(2 * PIECE + 3)
    connection.execute(
        "INSERT INTO jobs (id, client, kind, status, containers, requires_proof, attempts,"
        " created_at, finished_at, data, result, intermediate, ended)"
        " VALUES (?, 'c', 0, 1, 'a', 0, 1, 1, 1, ?, ?, ?, 0)",
        (KEY, expected, expected, expected),
    )
    assert whole(connection, Content(KEY, part, len(expected))) == expected


def test_pieces_are_deleted_with_their_job(connection: sqlite3.Connection) -> None:
    for key in (KEY, b"other"):
        connection.execute(
            "INSERT INTO jobs (id, client, kind, status, containers, requires_proof, attempts,"
            " created_at) VALUES (?, 'c', 0, 1, 'a', 0, 1, 1)",
            (key,),
        )
        contents.write(connection, key, 3, [b"text"])
    connection.execute("DELETE FROM jobs WHERE id = ?", (KEY,))
    assert contents.sizes(connection, KEY) == {}
    assert contents.sizes(connection, b"other") == {3: 4}


def test_only_some_parts_are_kept(connection: sqlite3.Connection) -> None:
    for part in (0, 1, 2, 3, 4):
        contents.write(connection, KEY, part, [b"text"])
    contents.keep_only(connection, KEY, [1, 4])
    assert set(contents.sizes(connection, KEY)) == {1, 4}
    contents.keep_only(connection, KEY, [])
    assert contents.sizes(connection, KEY) == {}
