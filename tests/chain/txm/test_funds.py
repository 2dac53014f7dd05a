"""The daily budget of fees, and the warning before the account is empty."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain.rpc.client import RpcError
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.txm import store as transaction_store
from infernet_edge.chain.txm.broadcaster import SendError
from infernet_edge.chain.txm.funds import BalanceWatch, BudgetUsed, FeeBudget
from infernet_edge.chain.txm.store import Transaction, TransactionOutcome, TransactionStore
from infernet_edge.storage.database import Database
from tests.support.events import Events
from tests.support.evm import NODE, Anvil
from tests.support.sending import GAS, Sending

HOUR = 3_600_000
BLOCK = BlockHeader(1, 1, "0x01", None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TransactionStore]:
    database = Database(tmp_path / "db.sqlite", {"transactions": transaction_store.MIGRATIONS})
    await database.open()
    yield TransactionStore(database)
    await database.close()


class Time:
    def __init__(self) -> None:
        self.now = 100 * HOUR

    def __call__(self) -> int:
        return self.now


async def pay(store: TransactionStore, budget: FeeBudget, fee: int) -> None:
    """Finish a transaction that has cost so much, as `Outcomes` does."""
    key = f"paid before: {budget.paid}"
    transaction = Transaction(0, key, 1, NODE.address, 0, "0x", b"", 1, None)
    await store.add(transaction)
    payment = budget.payment(fee)
    await store.finish(transaction, TransactionOutcome("mined", "0x"), payment)
    budget.note_paid(payment)


async def test_the_budget_is_never_exceeded(store: TransactionStore) -> None:
    budget = FeeBudget(100, store, Time())
    budget.check(60, 40)
    with pytest.raises(BudgetUsed, match=r"24 hours \(100 wei\) are paid, or reserved"):
        budget.check(60, 41)
    assert budget.problem == ""
    await pay(store, budget, 41)
    with pytest.raises(BudgetUsed, match="raise that setting"):
        budget.check(60, 0)
    assert "until a day has passed" in budget.problem
    budget.check(59, 0)
    assert budget.problem == ""


async def test_a_transaction_above_the_whole_budget(store: TransactionStore) -> None:
    budget = FeeBudget(100, store, Time())
    with pytest.raises(BudgetUsed, match="One transaction alone"):
        budget.check(101, 0)
    assert "chain.max_fee_wei_per_day allows (100 wei)" in budget.problem


async def test_without_a_limit_all_is_allowed(store: TransactionStore) -> None:
    budget = FeeBudget(None, store, Time())
    budget.check(10**30, 10**30)
    assert budget.problem == ""


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_day_of_the_nodes_own_time(store: TransactionStore, restarts: bool) -> None:
    time, large = Time(), 10**30
    budget = FeeBudget(3 * large, store, time)
    await pay(store, budget, large)
    time.now += 12 * HOUR
    await pay(store, budget, large)
    for hours, paid in ((12, 2 * large), (1, large), (11, large), (1, 0)):
        time.now += hours * HOUR
        if restarts:
            budget = FeeBudget(3 * large, store, time)
            await budget.load()
        assert budget.paid == paid, hours


async def test_what_is_paid_in_an_hour_is_added(store: TransactionStore) -> None:
    time = Time()
    budget = FeeBudget(1, store, time)
    for fee in (1, 2, 3):
        await pay(store, budget, fee)
    again = FeeBudget(1, store, time)
    await again.load()
    assert again.paid == budget.paid == 6


async def test_a_sender_keeps_its_budget(tmp_path: Path, anvil: Anvil) -> None:
    most = GAS * 10**10
    async with Sending(tmp_path, anvil, max_fee_wei_per_day=most) as sending:
        anvil.set_automine(False)
        before = int(anvil.rpc("eth_getBalance", NODE.address, "latest"), 16)
        await sending.mint("one")
        [first] = sending.sender.in_flight.by_key.values()
        worst = GAS * first.transaction.signed[-1].max_fee
        keys = ["one"]
        for number in range(most // worst - 1):
            keys.append(f"key {number}")
            await sending.mint(keys[-1])
        with pytest.raises(SendError, match=r"max_fee_wei_per_day .* reserved") as raised:
            await sending.mint("more")
        assert raised.value.temporary
        await sending.settle(*keys)
        await sending.mint("more")
        await sending.settle("more")
        paid = before - int(anvil.rpc("eth_getBalance", NODE.address, "latest"), 16)
        assert await sending.store.fees_paid(0) == {sending.elapsed // HOUR: paid}


async def test_a_replacement_keeps_the_budget(tmp_path: Path, anvil: Anvil, events: Events) -> None:
    async with Sending(tmp_path, anvil, max_fee_wei_per_day=GAS * 10**10) as sending:
        anvil.set_automine(False)
        await sending.mint("one")
        anvil.set_base_fee(20 * 10**9)
        anvil.mine()
        await sending.poll()
        assert not events.of("transaction.replaced")
        assert "max_fee_wei_per_day" in events.of("transaction.stuck")[0]["reason"]


async def test_a_warning_before_the_account_is_empty(
    store: TransactionStore, events: Events
) -> None:
    watch = BalanceWatch(NODE.address, store)
    await watch.load()
    assert [method for method, _ in watch.questions()] == ["eth_getBalance", "eth_gasPrice"]
    assert watch.questions() == [], "not with each poll"
    watch.note_gas(100)
    for balance, low in ((10_000, False), (9_999, True), (9_998, True), (10_000, False)):
        watch.answers(BLOCK, [hex(balance), hex(10)])
        assert ("fewer than 10 deliveries" in watch.problem) is low
    assert len(events.of("balance.low")) == len(events.of("balance.recovered")) == 1
    assert events.of("balance.low")[0]["balance"] == 9_999


@pytest.mark.parametrize("answers", [[], ["0x1", RpcError(1, "no")], [RpcError(1, "no"), "0x1"]])
async def test_without_an_answer_nothing_changes(store: TransactionStore, answers: Any) -> None:
    watch = BalanceWatch(NODE.address, store)
    watch.answers(BLOCK, ["0x0", "0x1"])
    problem = watch.problem
    watch.answers(BLOCK, answers)
    assert watch.problem == problem != ""


async def test_the_last_delivery_says_what_one_costs(store: TransactionStore) -> None:
    assert await store.last_gas() is None
    for number, gas in ((1, 7), (2, 9)):
        key = f"delivery:{number}:0"
        await store.add(Transaction(0, key, 1, NODE.address, number, "0x", b"", gas, None))
    await store.add(Transaction(0, "approval:3:1:0", 1, NODE.address, 3, "0x", b"", 5, None))
    assert await store.last_gas() == 9
