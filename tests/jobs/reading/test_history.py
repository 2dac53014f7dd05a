"""Pages of jobs with filters; among very many, too."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator

import pytest

from infernet_edge.errors import BadRequest
from infernet_edge.jobs import contents, table
from infernet_edge.jobs.identifiers import to_text
from infernet_edge.jobs.job import FAILED, RUNNING, SUCCESS
from infernet_edge.jobs.reading import history
from infernet_edge.jobs.reading.history import MAX_READ, Filter, Page, cursor, find, key_range

BEGAN = 1_700_000_000_000


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(":memory:", isolation_level=None) as opened:
        for step in table.MIGRATIONS:
            opened.execute(step)
        yield opened


def key(number: int) -> bytes:
    return (BEGAN + number).to_bytes(6) + b"\x40\x00\x80" + number.to_bytes(7)


def add(
    connection: sqlite3.Connection,
    number: int,
    status: int = SUCCESS,
    containers: str = "a",
    client: str = "me",
    **more: object,
) -> bytes:
    values = {
        "id": key(number),
        "client": client,
        "kind": 0,
        "status": status,
        "containers": containers,
        "requires_proof": 0,
        "attempts": 1,
        "created_at": BEGAN + number,
        **more,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", (*values.values(),))
    return key(number)


def numbers(page: Page) -> list[int]:
    return [item.created_at - BEGAN for item in page.items]


def everything(connection: sqlite3.Connection, wanted: Filter, limit: int) -> list[list[int]]:
    """All pages."""
    pages = []
    while True:
        page = find(connection, wanted, limit)
        pages.append(numbers(page))
        if page.next is None:
            return pages
        wanted = Filter(wanted.client, wanted.state, wanted.container, wanted.low, page.next)


def test_newest_first_in_pages(connection: sqlite3.Connection) -> None:
    for number in range(6):
        add(connection, number)
    assert everything(connection, Filter("me"), 2) == [[5, 4], [3, 2], [1, 0]]
    assert everything(connection, Filter("me"), 4) == [[5, 4, 3, 2], [1, 0]]
    assert everything(connection, Filter("me"), 100) == [[5, 4, 3, 2, 1, 0]]
    assert everything(connection, Filter("nobody"), 2) == [[]]


def test_filters(connection: sqlite3.Connection) -> None:
    add(connection, 0, RUNNING)
    add(connection, 1, SUCCESS, "a,b")
    add(connection, 2, FAILED, "b")
    add(connection, 3, FAILED, "ab", cancelled=1)
    add(connection, 4, RUNNING, client="you")
    found = {
        Filter("me"): [3, 2, 1, 0],
        Filter(None): [4, 3, 2, 1, 0],
        Filter("me", "running"): [0],
        Filter(None, "running"): [4, 0],
        Filter("me", "success"): [1],
        Filter("me", "failed"): [3, 2],
        Filter("me", "cancelled"): [3],
        Filter("me", container="a"): [1, 0],
        Filter("me", container="b"): [2, 1],
        Filter("me", "failed", "b"): [2],
        Filter("you", "failed"): [],
    }
    for wanted, expected in found.items():
        assert everything(connection, wanted, 10) == [expected], wanted


def test_one_call_reads_so_many_rows(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_READ", 10)
    for number in range(25):
        add(connection, number, containers="rare" if number in (3, 20) else "a")
    page = find(connection, Filter("me", container="rare"), 5)
    assert (numbers(page), page.searched_to) == ([20], BEGAN + 15)
    assert everything(connection, Filter("me", container="rare"), 5) == [[20], [], [3]]
    assert everything(connection, Filter("me", container="none"), 5) == [[], [], []]


def test_what_runs_is_found_behind_all_that_has_ended(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_READ", 10)
    for number in range(50):
        add(connection, number, RUNNING if number < 2 else SUCCESS)
    page = find(connection, Filter("me", "running"), 5)
    assert (numbers(page), page.next, page.searched_to) == ([1, 0], None, None)


def test_an_item(connection: sqlite3.Connection) -> None:
    error = b'{"container":"b","error":"' + b"x" * 300 + b'"}'
    add(
        connection,
        1,
        FAILED,
        "a,b",
        kind=1,
        started_at=BEGAN + 5,
        finished_at=BEGAN + 9,
        cancelled=1,
        result=error,
    )
    (item,) = find(connection, Filter("me"), 1).items
    assert item.id == to_text(key(1))
    assert (item.kind, item.status, item.containers, item.steps) == (
        *("stream", "failed", ["a", "b"]),
        2,
    )
    assert (item.started_at, item.finished_at) == (BEGAN + 5, BEGAN + 9)
    assert item.error == "x" * 200
    assert (item.input_bytes, item.result_bytes) == (None, len(error))
    assert item.cancelled is True


def test_sizes_of_what_is_stored_in_pieces(connection: sqlite3.Connection) -> None:
    now = table.Ending(BEGAN, 1)
    add(connection, 1, RUNNING, data=b"")
    contents.write(connection, key(1), contents.INPUT, [b"i" * 100_000])
    assert find(connection, Filter("me"), 1).items[0].input_bytes == 100_000
    table.finish(connection, key(1), SUCCESS, now, b"r" * 200_000, None, True, 0)
    (item,) = find(connection, Filter("me"), 1).items
    assert (item.input_bytes, item.result_bytes, item.error) == (None, 200_000, None)


def test_a_damaged_error_is_left_out(connection: sqlite3.Connection) -> None:
    add(connection, 1, FAILED, result=b"\xff\x00")
    assert find(connection, Filter("me"), 1).items[0].error is None


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 13, 14, 36])
def test_ids_that_begin_with_a_text(connection: sqlite3.Connection, length: int) -> None:
    for number in range(40):
        add(connection, number * 7_000_000)
    text = to_text(key(5 * 7_000_000))
    keys = key_range(text[:length].upper())
    assert keys is not None
    found = find(connection, Filter("me", low=keys[0], end=keys[1]), 100)
    expected = [
        number * 7_000_000
        for number in reversed(range(40))
        if to_text(key(number * 7_000_000)).startswith(text[:length])
    ]
    assert numbers(found) == expected
    assert 5 * 7_000_000 in expected


@pytest.mark.parametrize("text", ["x", "%", "-", "01a2-", "0123456789", "f" * 40, "_1", "+1", " 1"])
def test_texts_with_which_no_id_begins(text: str) -> None:
    assert key_range(text) is None


def test_the_last_ids() -> None:
    assert key_range("ff") == (b"\xff" + b"\0" * 15, b"\xff" * 16)


def test_cursors() -> None:
    assert cursor(to_text(key(1))) == key(1)
    assert cursor("") == b"\xff" * 16
    with pytest.raises(BadRequest, match="before: expected"):
        cursor("yesterday")


def test_a_filter_over_very_many_jobs_is_fast(connection: sqlite3.Connection) -> None:
    """200,000 here; the time does not depend on the number."""
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO jobs (id, client, kind, status, containers, requires_proof, attempts,"
        " created_at, result) VALUES (?, ?, 0, 1, 'a,b', 0, 1, ?, ?)",
        (
            (key(number), f"c{number % 2}", BEGAN + number, os.urandom(100))
            for number in range(200_000)
        ),
    )
    connection.execute("COMMIT")
    for wanted in (
        Filter("c0", container="none"),
        Filter(None, "failed"),
        Filter("c1", "cancelled"),
    ):
        began = time.thread_time()
        page = find(connection, wanted, 50)
        assert time.thread_time() - began < 0.5  # seconds of the CPU; about 0.01
        assert page.items == []
        assert page.searched_to is not None
        jobs = BEGAN + 200_000 - page.searched_to
        assert jobs in ((2 * MAX_READ - 1, 2 * MAX_READ) if wanted.client else (MAX_READ,))
