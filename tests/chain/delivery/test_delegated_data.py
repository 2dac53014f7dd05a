"""The input of delegated requests, on the disk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.chain.delivery import table as deliveries
from infernet_edge.chain.delivery.delegated_data import DelegatedData
from infernet_edge.chain.delivery.record import Delivery, DeliveryState
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.errors import StorageError, Unavailable
from infernet_edge.jobs.contents import PIECE
from infernet_edge.memory import MemoryBudget
from infernet_edge.storage.database import Database
from tests.support.deliveries import delivery
from tests.support.signed import signed_v0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "node.sqlite", {"deliveries": deliveries.MIGRATIONS})
    await opened.open()
    yield opened
    await opened.close()


async def data_of(database: Database, found_for: Delivery) -> bytes:
    found = await DelegatedData(database).find(found_for.request_key)
    if found is None:
        return b""
    text = b"".join([piece async for piece in found.pieces()])
    assert len(text) == found.size
    return text


async def end(store: DeliveryStore, found: Delivery, state: DeliveryState) -> None:
    found.state = state
    await store.save(found)


@pytest.mark.parametrize("size", [2, PIECE, PIECE + 1, 3 * PIECE + 5])
async def test_what_came_is_found(database: Database, size: int) -> None:
    store = DeliveryStore(database, 10)
    await store.add(delivery(), b"x" * size)
    assert await data_of(database, delivery()) == b"x" * size
    assert await data_of(database, delivery(1, 2)) == b"x" * size


async def test_it_goes_with_the_last_delivery(database: Database) -> None:
    store = DeliveryStore(database, 10)
    first, later = delivery(), delivery(1, 2)
    await store.add(first, b"data")
    await store.add(later)
    await end(store, first, "failed")
    assert await data_of(database, delivery(1, 2)) == b"data"
    await end(store, later, "delivered")
    assert await data_of(database, delivery()) == b""


async def test_a_request_that_comes_again_brings_its_data(database: Database) -> None:
    store = DeliveryStore(database, 10)
    first = delivery()
    await store.add(first, b"x" * 2 * PIECE)
    assert await store.add(delivery(), b"other") is not None
    assert await data_of(database, delivery()) == b"x" * 2 * PIECE, "the first one is in work"
    await end(store, first, "failed")
    again = delivery()
    assert await store.add(again, b"again") is None
    assert await data_of(database, delivery()) == b"again"


async def test_data_that_is_gone(database: Database) -> None:
    store = DeliveryStore(database, 10)
    first = delivery()
    await store.add(first, b"x" * 2 * PIECE)
    found = await DelegatedData(database).find(delivery().request_key)
    assert found is not None
    await end(store, first, "delivered")
    with pytest.raises(StorageError, match="gone"):
        [piece async for piece in found.pieces()]


async def test_what_is_on_the_chain_needs_no_input(database: Database) -> None:
    """Later intervals ask the owner's contract."""
    store = DeliveryStore(database, 10)
    first, later = delivery(), delivery(1, 2)
    later.subscription_id = 7
    await store.add(first, b"data")
    await store.add(later)
    await end(store, first, "delivered")
    assert await data_of(database, delivery()) == b""


async def test_another_deployment_is_another_request(database: Database) -> None:
    """The same owner and nonce there keep nothing here."""
    store = DeliveryStore(database, 10)
    here, there = delivery(anchor="0xaa"), delivery(anchor="0xbb")
    await store.add(here, b"here")
    await store.add(there, b"there")
    await end(store, here, "delivered")
    assert await data_of(database, here) == b""
    assert await data_of(database, there) == b"there"


async def test_all_inputs_together_have_a_limit(database: Database) -> None:
    store = DeliveryStore(database, 10, max_data=100)
    await store.add(delivery(1), b"x" * 60)
    with pytest.raises(Unavailable, match="storage"):
        await store.add(delivery(2), b"x" * 60)
    assert store.pending == 1
    await store.add(delivery(3), b"x" * 40)


async def test_requests_in_memory_are_counted(database: Database) -> None:
    budget = MemoryBudget(8 * 2**20, 0)
    store = DeliveryStore(database, 10, held=budget.reserve("deliveries"))
    large = [delivery(number) for number in range(3)]
    for each in large:
        each.request = b"x" * 700_000
    await store.add(large[0])
    await store.add(large[1])
    with pytest.raises(Unavailable):
        await store.add(large[2])
    assert budget.total == 2 * (700_000 + 1536)
    assert await store.add(delivery(0)) is not None  # known already
    again = DeliveryStore(database, 10, held=MemoryBudget(8 * 2**20, 0).reserve("deliveries"))
    assert len(await again.load()) == 2
    for each in large[:2]:
        await end(store, each, "delivered")
    assert budget.total == 0


async def test_requests_of_an_earlier_version_are_taken_apart(database: Database) -> None:
    store = DeliveryStore(database, 10)
    old = delivery()
    body = json.loads(signed_v0())
    body["data"] = {"text": "x" * 100_000}
    old.request = json.dumps(body).encode()
    await store.add(old)
    (loaded,) = await DeliveryStore(database, 10).load()
    assert len(loaded.request) < 1000
    assert json.loads(await data_of(database, delivery())) == body["data"]
