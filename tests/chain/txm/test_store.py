from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.chain.txm import store as module
from infernet_edge.chain.txm.store import (
    PaidFee,
    Signed,
    Transaction,
    TransactionOutcome,
    TransactionStore,
)
from infernet_edge.errors import StorageError
from infernet_edge.invariants import InvariantViolated
from infernet_edge.storage.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "ledger.sqlite", {"transactions": module.MIGRATIONS})
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> TransactionStore:
    return TransactionStore(database)


def signed(name: str, priority_fee: int | None = 2) -> Signed:
    return Signed(f"0x{name}", name.encode(), 10, priority_fee)


def transaction(key: str, nonce: int = 0, **settings: int | None) -> Transaction:
    cap = settings.get("max_gas_price")
    return Transaction(
        0, key, 1, "0xSender", nonce, "0xTarget", b"data", 21000, cap, [signed(f"{key}-1")]
    )


async def test_a_transaction_is_read_as_it_was_written(store: TransactionStore) -> None:
    written = transaction("one", 7, max_gas_price=5)
    await store.add(written)
    assert written.number
    written.signed.append(signed("one-2", None))
    await store.replace(written)
    assert await store.unfinished() == [written]
    assert await store.find("one") == "0xone-2"


async def test_what_is_larger_than_sqlite_takes(store: TransactionStore) -> None:
    await store.add(transaction("one", max_gas_price=2**200))
    [read] = await store.unfinished()
    assert read.max_gas_price == 2**63 - 1


async def test_a_key_and_a_nonce_are_there_once(store: TransactionStore) -> None:
    await store.add(transaction("one"))
    with pytest.raises(StorageError):
        await store.add(transaction("one", 1))
    with pytest.raises(StorageError):
        await store.add(transaction("two", 0))
    assert [each.key for each in await store.unfinished()] == ["one"]


async def test_what_is_final_is_kept_without_what_it_did(
    store: TransactionStore, database: Database
) -> None:
    one = transaction("one")
    await store.add(one)
    outcome = TransactionOutcome("reverted", one.hash, 5, "no", 30000)
    await store.finish(one, outcome)
    assert await store.unfinished() == []
    assert await store.outcomes(10) == {"one": outcome}
    assert await store.find("one") == one.hash
    left = await database.read(
        lambda connection: connection.execute("SELECT count(*) FROM signed_transactions").fetchone()
    )
    assert left == (0,)
    await store.add(transaction("two", 0))


async def test_what_deliveries_have_cost(store: TransactionStore) -> None:
    fees = {"delivery:1:0": 2**70, "approval:1:5:0": 7, "delivery:11:0": 3, "delivery:2:0": None}
    for nonce, (key, fee) in enumerate(fees.items()):
        each = transaction(key, nonce)
        await store.add(each)
        payment = None if fee is None else PaidFee(fee, 1, 0)
        await store.finish(each, TransactionOutcome("mined", each.hash), payment)
    assert await store.fees_of([1, 2, 11, 99]) == {1: 2**70 + 7, 11: 3}
    assert await store.fees_of([]) == {}


async def test_only_the_newest_outcomes_are_read(store: TransactionStore) -> None:
    for number in range(5):
        each = transaction(f"key {number}", number)
        await store.add(each)
        await store.finish(each, TransactionOutcome("mined", each.hash))
    assert len(await store.outcomes(3)) == 3


async def test_a_removed_transaction_leaves_nothing(store: TransactionStore) -> None:
    one = transaction("one")
    await store.add(one)
    await store.remove(one)
    assert await store.find("one") is None
    await store.add(transaction("one"))


async def test_old_outcomes_are_forgotten(store: TransactionStore) -> None:
    one = transaction("one")
    await store.add(one)
    await store.prune(one.number)
    assert await store.find("one") == one.hash, "it is not final"
    await store.finish(one, TransactionOutcome("mined", one.hash))
    await store.prune(one.number)
    assert await store.find("one") == one.hash, "its number would be given again"
    await store.add(transaction("two", 1))
    await store.prune(0)
    assert await store.find("one") == one.hash
    await store.prune(one.number)
    assert await store.find("one") is None


async def test_the_chain_of_contracts_is_remembered_once(store: TransactionStore) -> None:
    assert await store.chain_id("a b") is None
    await store.remember_chain("a b", 5)
    await store.remember_chain("a b", 6)
    assert await store.chain_id("a b") == 5
    assert await store.chain_id("c") is None


async def test_the_largest_number_of_a_delivery_that_keys_name(store: TransactionStore) -> None:
    assert await store.last_number() == 0
    for nonce, key in enumerate(("delivery:9:3", "delivery:12:0", "nothing:99:1")):
        await store.add(transaction(key, nonce))
    assert await store.last_number() == 12
    await store.add(transaction("approval:104:5:0", 7))
    assert await store.last_number() == 104


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transactions SET data = x'00'",
        "UPDATE transactions SET target = '0xAnother'",
        "UPDATE transactions SET nonce = 9",
        "UPDATE transactions SET gas = 1",
        "UPDATE transactions SET max_gas_price = 1",
        "UPDATE signed_transactions SET raw = x'00'",
        "UPDATE signed_transactions SET max_fee = 11",
        "DELETE FROM signed_transactions",
    ],
)
async def test_what_changed_on_the_disk_is_damaged(
    database: Database, store: TransactionStore, change: str
) -> None:
    written = transaction("one", 7)
    await store.add(written)
    written.nonce = 8
    await store.replace(written)
    [sound] = await store.unfinished()
    assert not sound.damaged
    await database.write(lambda connection: connection.execute(change) and None)
    [read] = await store.unfinished()
    assert read.damaged


async def test_one_damaged_form_leaves_the_others(
    database: Database, store: TransactionStore
) -> None:
    written = transaction("one")
    await store.add(written)
    written.signed.append(signed("one-2"))
    await store.replace(written)
    change = "UPDATE signed_transactions SET hash = '0x' WHERE position = 0"
    await database.write(lambda connection: connection.execute(change) and None)
    [read] = await store.unfinished()
    assert not read.damaged
    assert read.signed == [signed("one-2")]


async def test_a_transaction_ends_once_and_is_paid_once(store: TransactionStore) -> None:
    one = transaction("one")
    await store.add(one)
    mined = TransactionOutcome("mined", one.hash, 5, "", 30_000)
    for _ in range(2):  # a commit that seemed to fail is repeated
        await store.finish(one, mined, PaidFee(100, 7, 0))
    assert await store.fees_paid(0) == {7: 100}
    with pytest.raises(InvariantViolated, match="must not end twice"):
        await store.finish(one, TransactionOutcome("reverted", one.hash, 5, "", 30_000))
    with pytest.raises(InvariantViolated, match="is final"):
        await store.replace(one)
    await store.remove(one)
    assert await store.outcomes(10) == {"one": mined}
