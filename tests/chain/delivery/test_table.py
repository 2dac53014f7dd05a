"""The columns of the deliveries table, in files that earlier versions have written."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain.delivery.record import Delivery
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.delivery.table import MIGRATIONS
from infernet_edge.storage.database import Database
from tests.support.deliveries import ANCHOR, delivery
from tests.support.signed import signed_v0

OWNER = f"0x{'Bb' * 20}"
OTHER_ADDRESS = f"0x{'cc' * 20}"
BASE = f"1.x:{ANCHOR}:{OWNER}".lower()
# The statement of the version that knew the first nine steps.
OLD_INSERT = (
    "INSERT INTO deliveries (number, key, generation, owner, nonce, subscription_id, interval,"
    " containers, state, reason, verified, attempts, client, request, created_at, changed_at,"
    " delegated, request_sum)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, 'a', ?, '', 1, 0, '', ?, 1, 1, ?, NULL)"
)
REQUEST = signed_v0()
CONTRACT_KEY = f"1.x:{ANCHOR}:33:{OWNER}:1700000123#6".lower()
FIRST = (1, f"{BASE}:7~1", "1.x", OWNER, 7, None, 4, "failed", REQUEST, 1)
AGAIN = (2, f"{BASE}:7", "1.x", OWNER, 7, None, 5, "delivered", REQUEST, 1)
LATER = (3, f"{BASE}:7#12", "1.x", OWNER, 7, 9, 12, "accepted", REQUEST, 1)
CONTRACT = (4, CONTRACT_KEY, "1.x", OWNER, 0, 33, 6, "delivered", b"", 0)

OLD_STEPS = 9  # those of the versions that knew a delivery by its key alone


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@asynccontextmanager
async def opened(path: Path, steps: int | None = None) -> AsyncIterator[Database]:
    """The database as a version opens it that knows so many steps, or all."""
    database = Database(path, {"deliveries": MIGRATIONS[:steps]})
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def insert_old(database: Database, *rows: tuple[Any, ...]) -> None:
    await database.write(lambda connection: connection.executemany(OLD_INSERT, rows) and None)


def names(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT number, anchor, planned_interval, active_at FROM deliveries ORDER BY number"
        ).fetchall()


def contract(**fields: Any) -> Delivery:
    """A delivery for a contract's own subscription."""
    given: dict[str, Any] = {"planned_interval": 6, "owner": OWNER, "delegated": False}
    given |= {"subscription_id": 33, "active_at": 1_700_000_123}
    return delivery(0, **(given | fields))


async def test_an_upgrade_takes_the_names_out_of_the_keys(path: Path) -> None:
    async with opened(path, OLD_STEPS) as database:
        await insert_old(database, FIRST, AGAIN, LATER, CONTRACT)
    async with opened(path) as database:
        assert names(path) == [
            (1, ANCHOR, None, 0),
            (2, ANCHOR, None, 0),
            (3, ANCHOR, 12, 0),
            (4, ANCHOR, 6, 1_700_000_123),
        ]
        (later,) = await DeliveryStore(database, 10).load()
        assert (later.number, later.request_key) == (3, f"{BASE}:7")


async def test_what_an_older_version_writes_after_a_rollback_is_known_as_well(path: Path) -> None:
    """It gives up keys and adds rows, and knows nothing of the names."""
    async with opened(path) as database:
        store = DeliveryStore(database, 10)
        for nonce in (7, 8):
            made = delivery(nonce, owner=OWNER)
            await store.add(made)
            made.state = "failed"
            await store.save(made)
    async with opened(path, OLD_STEPS) as database:
        change = "UPDATE deliveries SET key = key || '~' || number WHERE number = 1"
        await database.write(lambda connection: connection.execute(change) and None)
        await insert_old(database, *((3 + n, *row[1:]) for n, row in enumerate((AGAIN, CONTRACT))))
    async with opened(path) as database:
        store = DeliveryStore(database, 10)
        await store.load()
        assert names(path) == [
            *((number, ANCHOR, None, 0) for number in (1, 2, 3)),
            (4, ANCHOR, 6, 1_700_000_123),
        ]
        found = await store.add(delivery(7, owner=OWNER))
        assert found is not None
        assert found.number == 3, "the newest counts"
        assert await store.add(delivery(8, owner=OWNER)) is None


async def test_an_older_version_finds_what_this_one_has_written(path: Path) -> None:
    async with opened(path) as database:
        store = DeliveryStore(database, 10)
        for each in (delivery(7, owner=OWNER), delivery(7, 12, owner=OWNER), contract()):
            assert await store.add(each) is None
    async with opened(path, OLD_STEPS) as database:
        keys = await database.read(
            lambda connection: connection.execute("SELECT key FROM deliveries").fetchall()
        )
    assert [key for (key,) in keys] == [AGAIN[1], LATER[1], CONTRACT_KEY]


def others() -> Iterator[Delivery]:
    """Deliveries that differ in one name from those that are stored."""
    yield delivery(7, owner=OWNER, anchor=OTHER_ADDRESS)
    yield delivery(7, owner=OWNER, generation="0.1")
    yield delivery(8, owner=OWNER)
    yield delivery(7, owner=OTHER_ADDRESS)
    yield delivery(7, 1, owner=OWNER)
    yield contract(anchor=OTHER_ADDRESS)
    yield contract(subscription_id=34)
    yield contract(active_at=1)  # the same id after a reorg
    yield contract(owner=OTHER_ADDRESS)
    yield contract(planned_interval=7)


async def test_what_differs_in_one_name_is_another_delivery(path: Path) -> None:
    async with opened(path) as database:
        store = DeliveryStore(database, 100)
        await store.add(delivery(7, owner=OWNER))
        await store.add(contract())
        for other in others():
            assert await store.add(other) is None
        for same in (delivery(7, owner=OWNER, interval=9, client="other"), contract(interval=9)):
            assert await store.add(same) is not None


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("delegated = 1 AND owner = 'o' AND nonce = 1 AND planned_interval IS 2", "delegated_"),
        ("delegated = 0 AND subscription_id = 1 AND planned_interval IS 2", "contract_"),
        ("anchor IS NULL", "unnamed_"),
    ],
)
async def test_names_are_looked_up_in_an_index(path: Path, where: str, index: str) -> None:
    """100,000 deliveries are remembered, and each new one is looked up."""
    question = f"EXPLAIN QUERY PLAN SELECT number FROM deliveries WHERE {where}"
    async with opened(path) as database:
        plan = await database.read(
            lambda connection: connection.execute(
                f"{question} ORDER BY number DESC LIMIT 1"
            ).fetchall()
        )
    assert f"INDEX {index}deliveries" in str(plan)
