"""The input of delegated requests, on the disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.chain import deliveries
from infernet_edge.chain.delegated_data import DelegatedData, base_key
from infernet_edge.chain.deliveries import Delivery, DeliveryStore, State
from infernet_edge.database import Database
from infernet_edge.errors import StorageError
from infernet_edge.jobs.contents import PIECE


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "node.sqlite", {"deliveries": deliveries.MIGRATIONS})
    await opened.open()
    yield opened
    await opened.close()


def delivery(key: str) -> Delivery:
    return Delivery(0, key, "1.x", "0xowner", 1, None, 1, ("a",), "accepted")


async def data_of(database: Database, key: str) -> bytes:
    found = await DelegatedData(database).find(key)
    text = b"".join([piece async for piece in found.pieces()])
    assert len(text) == found.size
    return text


async def end(store: DeliveryStore, found: Delivery, state: State) -> None:
    found.state = state
    await store.save(found)


def test_later_deliveries_share_the_key_of_the_first() -> None:
    assert base_key("1.x:0xa:0xb:1") == "1.x:0xa:0xb:1"
    assert base_key("1.x:0xa:0xb:1#7") == "1.x:0xa:0xb:1"
    assert base_key("1.x:0xa:0xb:1~12") == "1.x:0xa:0xb:1"


@pytest.mark.parametrize("size", [2, PIECE, PIECE + 1, 3 * PIECE + 5])
async def test_what_came_is_found(database: Database, size: int) -> None:
    store = DeliveryStore(database, 10)
    await store.add(delivery("key"), b"x" * size)
    assert await data_of(database, "key") == b"x" * size
    assert await data_of(database, "key#2") == b"x" * size


async def test_it_goes_with_the_last_delivery(database: Database) -> None:
    store = DeliveryStore(database, 10)
    first, later = delivery("key"), delivery("key#2")
    await store.add(first, b"data")
    await store.add(later)
    await end(store, first, "failed")
    assert await data_of(database, "key#2") == b"data"
    await end(store, later, "delivered")
    assert await data_of(database, "key") == b""


async def test_a_request_that_comes_again_brings_its_data(database: Database) -> None:
    store = DeliveryStore(database, 10)
    first = delivery("key")
    await store.add(first, b"x" * 2 * PIECE)
    assert await store.add(delivery("key"), b"other") is not None
    assert await data_of(database, "key") == b"x" * 2 * PIECE, "the first one is in work"
    await end(store, first, "failed")
    again = delivery("key")
    assert await store.add(again, b"again") is None
    assert await data_of(database, "key") == b"again"


async def test_data_that_is_gone(database: Database) -> None:
    store = DeliveryStore(database, 10)
    first = delivery("key")
    await store.add(first, b"x" * 2 * PIECE)
    found = await DelegatedData(database).find("key")
    await end(store, first, "delivered")
    with pytest.raises(StorageError, match="gone"):
        [piece async for piece in found.pieces()]
