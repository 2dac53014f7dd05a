"""The deliveries table."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain.contracts.payload import Payload
from infernet_edge.chain.delivery import table as deliveries
from infernet_edge.chain.delivery.record import Delivery, OpenDelivery, open_delivery
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.delivery.table import MIGRATIONS
from infernet_edge.clock import milliseconds
from infernet_edge.errors import StorageError, Unavailable
from infernet_edge.storage.database import Database
from tests.support.deliveries import delivery
from tests.support.signed import signed_v0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DeliveryStore]:
    database = Database(tmp_path / "node.sqlite", {"deliveries": MIGRATIONS})
    await database.open()
    yield DeliveryStore(database, max_pending=3)
    await database.close()


async def finish(store: DeliveryStore, found: Delivery, state: Any) -> None:
    found.state = state
    await store.save(found)


async def test_what_is_stored_is_loaded(store: DeliveryStore) -> None:
    made = delivery(request=signed_v0(), client="10.0.0.1", verified=True)
    assert await store.add(made) is None
    made.state, made.input, made.output, made.proof = "sending", b"i", b"", b"p"
    made.attempts, made.interval = 2, 7
    await store.save(made)
    assert await store.load() == [open_delivery(made)]
    assert store.pending == 1


async def test_an_interval_is_taken_once(store: DeliveryStore) -> None:
    first = delivery()
    await store.add(first)
    assert await store.add(delivery()) == first
    await finish(store, first, "delivered")
    assert await store.add(delivery()) == first
    assert (store.pending, await store.load()) == (0, [])


async def test_a_failed_one_makes_room(store: DeliveryStore) -> None:
    first, second = delivery(), delivery()
    await store.add(first)
    await finish(store, first, "failed")
    assert await store.add(second) is None
    assert second.number != first.number
    assert [each.state for each in await store.newest(5)] == ["accepted", "failed"]


async def test_not_while_a_later_interval_is_in_work(store: DeliveryStore) -> None:
    first, later = delivery(), delivery(1, 2)
    await store.add(first)
    await store.add(later)
    await finish(store, first, "failed")
    assert await store.add(delivery()) == first
    await finish(store, later, "failed")
    assert await store.add(delivery(1, 2)) == later
    assert await store.add(delivery()) is None


async def test_a_full_store_takes_successors_only(store: DeliveryStore) -> None:
    for number in range(3):
        await store.add(delivery(number))
    with pytest.raises(Unavailable, match="Too many pending"):
        await store.add(delivery(9))
    assert await store.add(delivery(2, 2), limited=False) is None
    assert store.pending == 4


async def test_those_who_come_at_once_do_not_overfill_it(store: DeliveryStore) -> None:
    added = (store.add(delivery(number)) for number in range(9))
    results = await asyncio.gather(*added, return_exceptions=True)
    assert results[:3] == [None] * 3
    assert all(isinstance(result, Unavailable) for result in results[3:])
    assert store.pending == len(await store.load()) == 3


async def test_what_is_not_stored_takes_no_room(store: DeliveryStore, tmp_path: Path) -> None:
    first = delivery()
    await store.add(first)
    assert await store.add(delivery()) == first
    with sqlite3.connect(tmp_path / "node.sqlite") as connection:
        connection.execute("ALTER TABLE deliveries RENAME TO gone")
    connection.close()
    with pytest.raises(StorageError):
        await store.add(delivery(2))
    assert store.pending == 1


async def test_numbers_are_given_once_although_rows_are_forgotten(store: DeliveryStore) -> None:
    """They name transactions, which are remembered: a new delivery must not find an old one."""
    numbers = []
    for nonce in range(3):
        made = delivery(nonce)
        await store.add(made)
        numbers.append(made.number)
        await finish(store, made, "delivered")
        await store.prune(made.number)
    assert numbers == [1, 2, 3]
    assert len(await store.newest(5)) == 1


async def test_with_its_end_goes_what_nobody_needs(store: DeliveryStore, tmp_path: Path) -> None:
    first, later = delivery(request=b"{}"), delivery(1, 2, request=b"{}")
    for each in (first, later):
        await store.add(each)
        each.input, each.output, each.proof = b"i" * 9999, b"o" * 9999, b"p" * 9999
        await finish(store, each, "sending")
        assert (await store.load())[-1].output is None
        assert await store.answer(each) == Payload(b"i" * 9999, b"o" * 9999, b"p" * 9999)
        await finish(store, each, "delivered")
    with sqlite3.connect(tmp_path / "node.sqlite") as connection:
        found = connection.execute("SELECT request, input, output, proof FROM deliveries")
        assert found.fetchall() == [(b"{}", None, None, None), (b"", None, None, None)]
    connection.close()


@pytest.mark.parametrize("pruned", [True, False])
async def test_only_the_newest_that_ended_are_remembered(
    store: DeliveryStore, monkeypatch: pytest.MonkeyPatch, pruned: bool
) -> None:
    """Whoever may ask could fill the disk otherwise; what is in work is not counted."""
    monkeypatch.setattr(deliveries, "_MAX_ENDED", 3)
    monkeypatch.setattr(deliveries, "_CHECK_EVERY", 1000 if pruned else 4)
    await store.add(delivery(0))
    for number in range(2, 9):
        made = delivery(number)
        await store.add(made)
        await finish(store, made, "delivered" if number % 2 else "skipped")
    if pruned:
        assert len(await store.newest(20)) == 8
        await store.prune(0)
        assert [each.number for each in await store.newest(20)] == [8, 7, 6, 1]
    else:
        assert [each.number for each in await store.newest(20)] == [8, 7, 6, 5, 1]


async def test_forgetting_the_oldest_is_quick_enough(
    store: DeliveryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it happens nothing else is stored."""
    await store.add(delivery(0))
    with sqlite3.connect(tmp_path / "node.sqlite") as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 110000)"
            " INSERT INTO deliveries (number, key, generation, owner, nonce, interval, containers,"
            " state, request, created_at, changed_at)"
            " SELECT i, 'key' || i, '1.x', '0xowner', i, 1, 'a', 'failed', zeroblob(200),"
            f" {milliseconds()}, {milliseconds()} FROM n"
        )
    connection.close()
    began = time.monotonic()
    await store.prune(0)
    assert time.monotonic() - began < 20
    with sqlite3.connect(tmp_path / "node.sqlite") as connection:
        assert connection.execute("SELECT count(*), min(number) FROM deliveries").fetchone() == (
            100_001,
            1,
        )
    connection.close()


async def test_numbers_that_were_given_before_are_not_given_again(store: DeliveryStore) -> None:
    """Rows that a damaged file lost had them, and transactions are named after them."""
    await store.load(7)
    first, second = delivery(1), delivery(2)
    await store.add(first)
    await store.add(second)
    assert (first.number, second.number) == (8, 9)


@pytest.mark.parametrize(("request_", "delegated"), [(b"{}", True), (b"", True), (b"\x01", False)])
async def test_what_cannot_be_parsed_is_damaged(
    store: DeliveryStore, request_: bytes, delegated: bool
) -> None:
    await store.add(delivery(1, request=request_, delegated=delegated))
    await store.add(delivery(2, request=signed_v0()))
    broken, whole = await store.load()
    assert (type(broken), broken.damaged) == (Delivery, True)
    assert isinstance(whole, OpenDelivery)
    assert whole.signed is not None
    assert whole.signed.subscription is whole.subscription
